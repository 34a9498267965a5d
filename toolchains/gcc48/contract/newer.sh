# Nothing newer than the ceiling links: each of these must fail, and for that reason.
set -e
for name in getentropy getrandom reallocarray explicit_bzero memfd_create; do
    printf 'char %s(void);\nint main(void) { return %s(); }\n' "$name" "$name" >newer.c
    if gcc -fno-builtin newer.c -o newer 2>newer.log; then
        echo "a program with $name was linked"
        exit 1
    fi
    grep -q "undefined reference to .$name'" newer.log || { cat newer.log; exit 1; }
done
rm -f newer newer.c
printf '#include <threads.h>\n' >newer.c
if gcc -c newer.c 2>newer.log; then
    echo "threads.h is there"
    exit 1
fi
echo "newer: refused"
