// Throws across the border of shared objects, also what only the static part of the library has.
#include <filesystem>
#include <new>
#include <stdexcept>
#include <string>

extern "C" void throw_kind(int kind)
{
    if (kind == 0)
        throw std::runtime_error("runtime");
    if (kind == 1)
        throw std::filesystem::filesystem_error("files", std::make_error_code(std::errc::io_error));
    if (kind == 2)
        throw std::bad_array_new_length();
    std::string().at(kind);
}
