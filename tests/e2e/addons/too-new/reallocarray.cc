#include <stddef.h>

// Newer than glibc 2.17, and declared by hand, as a package with headers of its own does.
extern "C" void* reallocarray(void*, size_t, size_t);

extern "C" int Use() { return reallocarray(nullptr, 1, 1) != nullptr; }
