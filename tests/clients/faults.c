/* Disk faults for a program that is started with LD_PRELOAD: calls on files whose path holds FAULTS_IN fail now and then.
 *
 * Of every FAULTS_ONE_IN calls one fails: a write is short, half done and then refused, or refused (ENOSPC, EIO); a sync is
 * refused (EIO); a rename is refused (EACCES). Faults come in bursts, as those of a disk do: while the clock shows an odd
 * number of FAULTS_BURST_MS, nothing fails.
 *
 *     cc -shared -fPIC -o faults.so faults.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static __thread unsigned long long state;

static int fails(const char *path) {
    const char *in = getenv("FAULTS_IN"), *one_in = getenv("FAULTS_ONE_IN"), *burst = getenv("FAULTS_BURST_MS");
    struct timespec now;
    if (!in || !one_in || !path || !strstr(path, in)) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    if (burst && ms / atoll(burst) % 2) return 0;
    if (!state) state = now.tv_nsec * 2654435761ULL + getpid() + (size_t)&state;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % atoll(one_in) == 0 ? 1 + (state >> 40) % 4 : 0;
}

static int fd_fails(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *bytes, size_t count) {
    int fault = fd_fails(fd), saved = errno;
    if (fault == 1) return errno = ENOSPC, -1;
    if (fault == 2) return errno = EIO, -1;
    if (fault && count > 1) count /= 2;
    errno = saved;
    return REAL(ssize_t, "write", int, const void *, size_t)(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    int fault = fd_fails(fd);
    if (fault == 1) return errno = ENOSPC, -1;
    if (fault == 2) {
        REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(fd, bytes, count / 2, at);
        return errno = EIO, -1;
    }
    if (fault && count > 1) count /= 2;
    return REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(fd, bytes, count, at);
}

int fsync(int fd) { return fd_fails(fd) ? (errno = EIO, -1) : REAL(int, "fsync", int)(fd); }

int fdatasync(int fd) { return fd_fails(fd) ? (errno = EIO, -1) : REAL(int, "fdatasync", int)(fd); }

int rename(const char *from, const char *to) {
    return fails(from) ? (errno = EACCES, -1) : REAL(int, "rename", const char *, const char *)(from, to);
}
