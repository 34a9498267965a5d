# C++20 with threads, exceptions, regular expressions and a locale.
set -e
c++ -std=c++20 -O2 -Wall -Werror -pthread -o modern modern.cc
test "$(./modern)" = "threads 4, matched, thrown"
c++ -std=c++20 -O2 -shared -fPIC -o libmodern.so modern.cc
