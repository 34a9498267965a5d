# Plain C: as a program, as a position-dependent one, and vectorized. A static one loads nothing.
set -e
cc -O2 -Wall c.c -o c -lm -lpthread -ldl -lrt -lcrypt
./c
gcc -O2 -no-pie c.c -o c-nopie -lm -lpthread -ldl -lrt -lcrypt
./c-nopie
cat >vector.c <<'END'
#include <math.h>
double all(double *x) { double s = 0; for (int i = 0; i < 4096; ++i) s += sin(x[i]); return s; }
END
gcc -O3 -ffast-math -mavx2 -shared -fPIC vector.c -o libvector.so -lm
readelf -d libvector.so | grep -q 'libmvec\.so\.1'
printf '#include <stdio.h>\nint main(void) { return puts("static: good") < 0; }\n' >static.c
gcc -static static.c -o c-static
./c-static
