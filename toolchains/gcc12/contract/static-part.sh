# Every part of libstdc++ that the linker takes from the static library links as a whole, so that no
# function of it fails to link only in the program that uses it.
set -e
folder=$(dirname "$(gcc -print-libgcc-file-name)")
printf 'int none;\n' >none.c
gcc -fPIC -c none.c
for library in stdc++_nonshared atomic; do
    g++ -shared -Wl,-z,defs none.o -Wl,--whole-archive "$folder/lib$library.a" \
        -Wl,--no-whole-archive -o "lib$library.so"
done
# The oldest host need not have these libraries, so a program has them in itself.
cat >own.c <<'END'
#include <omp.h>
#include <quadmath.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    int total = 0;
#pragma omp parallel for reduction(+ : total) num_threads(2)
    for (int i = 0; i < 100; ++i)
        total += i;
    printf("own: %d\n", total);
    return total != 4950 || sinq(argc) < 0.8Q;
}
END
gcc -O2 -fopenmp own.c -o own -lquadmath -lm
./own
