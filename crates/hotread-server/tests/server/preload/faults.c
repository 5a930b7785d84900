/* The failures of a system in trouble, while a file exists: it refuses threads, or its clock is
   eight thousand years ahead. To be preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int is_there(const char *name)
{
    const char *file = getenv(name);
    return file && syscall(SYS_access, file, F_OK) == 0;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *with)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (is_there("HOTREAD_NO_THREADS"))
        return EAGAIN;
    create = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))
        dlsym(RTLD_NEXT, "pthread_create");
    return create(thread, attr, run, with);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME && is_there("HOTREAD_FAR_CLOCK"))
        now->tv_sec += 8000L * 365 * 24 * 60 * 60;
    return failed;
}
