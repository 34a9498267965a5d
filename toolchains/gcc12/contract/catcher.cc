// Loads a shared library as Node loads an addon, and catches what it throws.
#include <dlfcn.h>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <stdexcept>
#include <string>

int main(int, char **argv)
{
    void *library = dlopen(argv[1], RTLD_LAZY);
    auto throw_kind = library ? reinterpret_cast<void (*)(int)>(dlsym(library, "throw_kind")) : nullptr;
    if (!throw_kind) {
        std::cerr << dlerror() << std::endl;
        return 2;
    }
    int caught = 0;
    for (int kind = 0; kind < 4; ++kind) {
        try {
            throw_kind(kind);
        } catch (const std::filesystem::filesystem_error &) {
            caught += kind == 1;
        } catch (const std::bad_array_new_length &) {
            caught += kind == 2;
        } catch (const std::out_of_range &) {
            caught += kind == 3;
        } catch (const std::runtime_error &error) {
            caught += kind == 0 && std::string(error.what()) == "runtime";
        }
    }
    std::cout << "caught " << caught << std::endl;
    return caught != 4;
}
