# Plain C, as a program and as a position-dependent one.
set -e
cc -O2 -Wall c.c -o c -lm -lpthread -ldl
./c
gcc -O2 -no-pie c.c -o c-nopie -lm -lpthread -ldl
./c-nopie
