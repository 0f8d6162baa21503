/* devbox-exec: the last step before a person's process.
 *
 *     devbox-exec tty|pipe DIRECTORY HOME PROGRAM ARGV0 [ARGUMENT...]
 *
 * It makes the process a session of its own, with standard input as controlling terminal when
 * asked, enters the directory (else the home, else /), and becomes the program. A program of its
 * own, because code between fork and exec in a process with threads is not safe in Python.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 6)
        return 125;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* By the system call: libc keeps 32 and 33 for itself, but they are inherited like all others.
     * Zeroes are SIG_DFL, no flags and an empty mask in the kernel's struct sigaction. */
    const char defaults[64] = {0};
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, defaults, NULL, 8);
    setsid();
    if (!strcmp(argv[1], "tty") && ioctl(0, TIOCSCTTY, 0) < 0)
        dprintf(2, "devbox: no controlling terminal: %s\n", strerror(errno));
    if (chdir(argv[2]) < 0 && chdir(argv[3]) < 0 && chdir("/") < 0)
        dprintf(2, "devbox: cannot enter any directory: %s\n", strerror(errno));
    execvp(argv[4], argv + 5);
    int error = errno;
    dprintf(2, "devbox: cannot run %s: %s\n", argv[4], strerror(error));
    return error == ENOENT ? 127 : 126;
}
