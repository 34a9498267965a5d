/* What C programs ask of the C library. Most of these have a newer version than the ceiling, or came
   into another library: stat with glibc 2.33, threads and dlopen with 2.34, exp and pow with 2.29. */
#define _GNU_SOURCE
#include <crypt.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static __thread int own = 1;
static atomic_int total;
static once_flag once = ONCE_FLAG_INIT;

static void count(void) { atomic_fetch_add(&total, 1); }

static void *work(void *argument)
{
    own += *(int *)argument;
    call_once(&once, count);
    return (void *)(long)own;
}

int main(int argc, char **argv)
{
    volatile double one = argc;
    volatile float small = argc;
    struct stat facts, more_facts;
    struct stat64 large;
    struct timespec now;
    pthread_t thread;
    sem_t semaphore;
    void *result;
    int more = 41, file;
    char bytes[16];

    if (exp(one) < 2.7 || pow(one + 1, 10) != 1024 || log(one) != 0 || log2(one) != 0)
        return 2;
    if (expf(small) < 2.7f || powf(small + 1, 10) != 1024 || exp2(one) != 2 || fabs(sin(one)) > 1)
        return 3;
    if (pthread_create(&thread, NULL, work, &more) || pthread_join(thread, &result))
        return 4;
    if ((long)result != 42 || own != 1 || total != 1)
        return 5;
    if (sem_init(&semaphore, 0, 1) || sem_wait(&semaphore) || sem_destroy(&semaphore))
        return 6;
    file = open(argv[0], O_RDONLY);
    if (fcntl(file, F_GETFD) < 0 || fcntl64(file, F_GETFD) < 0 || fstat(file, &facts))
        return 7;
    if (stat(argv[0], &more_facts) || lstat64(argv[0], &large) || facts.st_ino != more_facts.st_ino)
        return 8;
    if (mknod("/no/such/folder/x", S_IFIFO, 0) == 0 || clock_gettime(CLOCK_MONOTONIC, &now))
        return 9;
    if (dlsym(dlopen(NULL, RTLD_NOW), "no such name") != NULL || dlerror() == NULL)
        return 10;
    if (getentropy(bytes, sizeof bytes) || reallocarray(NULL, 2, 8) == NULL)
        return 11;
    if (memfd_create("x", 0) < 0 || crypt("word", "$6$salt") == NULL || timer_delete(NULL) == 0)
        return 12;
#if __GLIBC__ != 2 || __GLIBC_MINOR__ != 28
    return 13;
#endif
    return puts("C: good") < 0;
}
