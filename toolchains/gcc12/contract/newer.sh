# Nothing newer than the ceiling links: each of these must fail, and for that reason.
set -e
for name in getcpu gettid pthread_cond_clockwait pthread_mutex_clocklock sem_clockwait close_range \
    arc4random closefrom epoll_pwait2 mallinfo2 fstat64_time64 __isoc23_strtol; do
    printf 'char %s(void);\nint main(void) { return %s(); }\n' "$name" "$name" >newer.c
    if gcc -fno-builtin newer.c -o newer -lpthread -ldl -lm 2>newer.log; then
        echo "a program with $name was linked"
        exit 1
    fi
    grep -q "undefined reference to .$name'" newer.log || { cat newer.log; exit 1; }
done
for name in getentropy reallocarray memfd_create getrandom explicit_bzero fcntl64 copy_file_range; do
    printf 'char %s(void);\nint main(int c, char **v) { return c > 9 && %s(); }\n' "$name" "$name" >older.c
    gcc -fno-builtin older.c -o "older-$name"
done
rm -f newer newer.c
printf '#include <sys/single_threaded.h>\n' >newer.c
if gcc -c newer.c 2>newer.log; then
    echo "sys/single_threaded.h is there"
    exit 1
fi
echo "newer: refused"
