# Exceptions from shared libraries, with the unwinder of the host and with a static one. libstdc++ is
# that of the host even if a build requests a static one.
set -e
make_library="-O2 -std=c++20 -shared -fPIC thrower.cc"
g++ $make_library -o libthrower.so
g++ $make_library -static-libgcc -static-libstdc++ -o "libthrower 2.so"
readelf -d "libthrower 2.so" | grep -q 'libstdc++\.so\.6'
# A C compiler links C++ too.
gcc $make_library -o libthrower3.so -lstdc++
g++ -O2 -std=c++20 catcher.cc -o catch -ldl
g++ -O2 -std=c++20 -static-libgcc -static-libstdc++ catcher.cc -o catch-static-gcc -ldl
for library in libthrower.so "libthrower 2.so" libthrower3.so; do
    ./catch "./$library"
    ./catch-static-gcc "./$library"
done
