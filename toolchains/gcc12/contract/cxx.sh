# C++ of several standards, with the old string, without optimization, and as a shared library.
set -e
for standard in 17 20 23; do
    c++ -O2 -Wall -std=c++$standard cxx.cc -o cxx$standard -pthread
    ./cxx$standard
done
g++ -O0 -g -std=c++17 -D_GLIBCXX_ASSERTIONS cxx.cc -o cxx-debug -pthread
./cxx-debug
g++ -O2 -std=c++17 -D_GLIBCXX_USE_CXX11_ABI=0 cxx.cc -o cxx-old-string -pthread
./cxx-old-string
g++ -O2 -std=c++20 -shared -fPIC -Wl,-z,defs cxx.cc -o libcxx.so -pthread
c++ -O2 -Wall -Werror -std=c++20 modern.cc -o modern -pthread -latomic
./modern
g++ -O3 -flto -std=gnu++20 modern.cc -o modern-lto -pthread -latomic
./modern-lto
