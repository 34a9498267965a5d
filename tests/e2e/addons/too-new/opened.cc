#include <dlfcn.h>

extern "C" void* Use() { return dlopen("libcuda.so.1", RTLD_NOW); }
