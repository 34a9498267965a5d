# C++ of three standards, without optimisation, and as a shared library.
set -e
for standard in 11 14 17; do
    c++ -O2 -std=c++$standard cxx.cc -o cxx$standard -pthread
    ./cxx$standard
done
g++ -O0 -g -std=c++17 cxx.cc -o cxx-debug -pthread
./cxx-debug
g++ -O2 -std=c++17 -shared -fPIC cxx.cc -o libcxx.so -pthread
