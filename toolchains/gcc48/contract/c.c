/* What old C programs ask of the C library; each of these has a newer version than the ceiling. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static __thread int own = 1;

static void *work(void *argument)
{
    own += *(int *)argument;
    return (void *)(long)own;
}

int main(int count, char **arguments)
{
    volatile double one = count;
    struct stat facts;
    struct timespec now;
    glob_t found;
    pthread_t thread;
    void *result;
    int more = 41;
    char *paths[] = {".", NULL};
    char copy[sizeof paths];

    if (exp(one) < 2.7 || pow(one + 1, 10) != 1024 || log(one) != 0)
        return 2;
    if (pthread_create(&thread, NULL, work, &more) || pthread_join(thread, &result))
        return 3;
    if ((long)result != 42 || own != 1)
        return 4;
    if (fcntl(0, F_GETFD) < 0 || stat(arguments[0], &facts) || clock_gettime(CLOCK_MONOTONIC, &now))
        return 5;
    if (glob("*.c", 0, NULL, &found) || found.gl_pathc == 0)
        return 6;
    if (fts_read(fts_open(paths, FTS_PHYSICAL, NULL)) == NULL)
        return 7;
    if (dlsym(dlopen(NULL, RTLD_NOW), "no such name") != NULL || dlerror() == NULL)
        return 8;
    if (memcmp(memcpy(copy, paths, sizeof paths), paths, sizeof paths) || __GLIBC_MINOR__ != 17)
        return 9;
    return puts("C: good") < 0;
}
