/* devbox-init: the first process of a box.
 *
 * Owns: the start record (taken once from its file, then kept in memory), the reaping of every
 * process, the image's own command, the restarts of the agent, the end of the box.
 * Must not know: what is in the start record. The agent reads it and answers with a plan: which
 * command of the image to run, if any.
 *
 * It is static and small, because it must run in a root file system that holds nothing, and
 * because it stands beside every box for as long as the box lives.
 *
 * The agent gets: fd 3, a sealed memory file with the start record; and until a plan is known,
 * fd 4, the pipe for it. A plan is a row of strings, each ended by a NUL:
 *     "none" "end"
 *     "run" <working directory> <argc> <argv...> <envc> <env...> "end"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORD "/.devbox/box/start.json"
#define AGENT "/.devbox/bin/devbox-agent"

enum {
    RECORD_LIMIT = 4 << 20,
    PLAN_LIMIT = 4 << 20,
    FIRST_DELAY_MS = 200,
    LAST_DELAY_MS = 10000,
    STEADY_MS = 10000, /* an agent that lived this long starts again with the first delay */
    GRACE_MS = 5000,
    EXIT_CONFIG = 78, /* EX_CONFIG of sysexits.h */
    RECORD_FD = 3,
    PLAN_FD = 4,
};

static int record_fd = -1;
static pid_t agent, command;
static long agent_since, agent_due, delay = FIRST_DELAY_MS;

static int plan_fd = -1; /* our end of the pipe while an agent may answer */
static char *plan;
static size_t plan_size;
static int plan_known;

static int stopping, exit_status;
static long deadline; /* 0: none */

static void say(const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    dprintf(STDERR_FILENO, "devbox-init: %s\n", line);
}

static long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return time.tv_sec * 1000L + time.tv_nsec / 1000000L;
}

static void refuse(const char *why)
{
    say("%s, so this box refuses to run. Nothing is lost; start the project again.", why);
    exit(EXIT_CONFIG);
}

/* ---- the start record ---- */

static void take_record(void)
{
    int file = open(RECORD, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        refuse("there is no start record at " RECORD);
    record_fd = memfd_create("start-record", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (record_fd < 0)
        refuse("the start record cannot be kept in memory");
    char buffer[65536];
    ssize_t got;
    long total = 0;
    while ((got = read(file, buffer, sizeof buffer)) > 0) {
        total += got;
        if (total > RECORD_LIMIT || write(record_fd, buffer, got) != got)
            refuse("the start record is too large");
    }
    if (got < 0 || total == 0)
        refuse("the start record cannot be read");
    close(file);
    if (unlink(RECORD) < 0)
        refuse("the start record cannot be removed");
    fcntl(record_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
}

/* ---- children ---- */

/* What we ignore or were started with is ours alone. By the system call, because libc keeps 32 and
 * 33 for itself; zeroes are SIG_DFL, no flags and an empty mask in the kernel's struct sigaction. */
static void reset_signals(void)
{
    static const char defaults[64];
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, defaults, NULL, 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static pid_t begin_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        reset_signals();
        setsid();
    }
    return pid;
}

static void start_agent(void)
{
    int ends[2] = {-1, -1};
    if (!plan_known && pipe2(ends, O_CLOEXEC) < 0)
        ends[0] = ends[1] = -1;
    lseek(record_fd, 0, SEEK_SET);
    pid_t pid = begin_child();
    if (pid == 0) {
        /* Above 4 first, so that neither dup2 hits the other's source. */
        int record = fcntl(record_fd, F_DUPFD, 10);
        int answer = ends[1] < 0 ? -1 : fcntl(ends[1], F_DUPFD, 10);
        dup2(record, RECORD_FD);
        close(record);
        if (answer >= 0) {
            dup2(answer, PLAN_FD);
            close(answer);
            execl(AGENT, "devbox-agent", "--record-fd=3", "--plan-fd=4", (char *)NULL);
        } else {
            execl(AGENT, "devbox-agent", "--record-fd=3", (char *)NULL);
        }
        say("cannot start the agent %s: %s", AGENT, strerror(errno));
        _exit(127);
    }
    if (ends[1] >= 0)
        close(ends[1]);
    if (pid < 0) {
        say("cannot start the agent: %s", strerror(errno));
        if (ends[0] >= 0)
            close(ends[0]);
        agent_due = now_ms() + delay;
        return;
    }
    plan_fd = ends[0];
    plan_size = 0;
    agent = pid;
    agent_since = now_ms();
}

static void agent_ended(int status)
{
    agent = 0;
    if (stopping)
        return;
    if (now_ms() - agent_since >= STEADY_MS)
        delay = FIRST_DELAY_MS;
    say("the agent ended (%s %d); it starts again in %ld ms",
        WIFSIGNALED(status) ? "signal" : "status",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), delay);
    agent_due = now_ms() + delay;
    delay = delay * 2 > LAST_DELAY_MS ? LAST_DELAY_MS : delay * 2;
}

/* ---- the end of the box ---- */

static void stop_all(void)
{
    kill(-1, SIGTERM);
    kill(-1, SIGCONT);
    deadline = now_ms() + GRACE_MS;
}

/* The image's command alone decides how long it needs: a database that writes its last pages is
 * never cut short here. The container runtime's own grace period still ends it. */
static void stop(int signal)
{
    if (stopping)
        return;
    stopping = 1;
    if (command == 0) {
        stop_all();
        return;
    }
    kill(command, signal);
    kill(command, SIGCONT);
}

static void command_ended(int status)
{
    command = 0;
    exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (!stopping)
        say("the image's command ended with status %d, so the box ends", exit_status);
    stopping = 1;
    stop_all();
}

/* ---- the plan ---- */

static char **strings(char **at, char *end)
{
    long count = strtol(*at, NULL, 10);
    if (count < 0 || count > end - *at)
        return NULL;
    *at += strlen(*at) + 1;
    char **row = calloc(count + 1, sizeof *row);
    for (long i = 0; row && i < count; i++) {
        if (*at >= end)
            return NULL;
        row[i] = *at;
        *at += strlen(*at) + 1;
    }
    return row;
}

static void run_command(char *at, char *end)
{
    char *directory = at;
    at += strlen(at) + 1;
    char **argv = at < end ? strings(&at, end) : NULL;
    char **env = argv && at < end ? strings(&at, end) : NULL;
    if (!env || !argv[0]) {
        say("the agent's plan makes no sense; the image's command is not run");
        return;
    }
    command = begin_child();
    if (command == 0) {
        if (chdir(directory) < 0)
            say("cannot enter %s: %s", directory, strerror(errno));
        environ = env;
        execvp(argv[0], argv);
        say("cannot run the image's command %s: %s", argv[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    if (command < 0)
        command_ended(127 << 8);
}

static void read_plan(void)
{
    if (!plan && !(plan = malloc(PLAN_LIMIT)))
        return;
    ssize_t got = read(plan_fd, plan + plan_size, PLAN_LIMIT - plan_size);
    if (got > 0 && plan_size + got < PLAN_LIMIT) {
        plan_size += got;
        return;
    }
    if (got < 0 && errno == EINTR)
        return;
    close(plan_fd);
    plan_fd = -1;
    static const char last[] = "end";
    char *end = plan + plan_size - sizeof last;
    if (got == 0 && plan_size > sizeof last && !memcmp(end, last, sizeof last)) {
        plan_known = 1;
        if (!strcmp(plan, "run") && !stopping)
            run_command(plan + sizeof "run", end);
    }
    free(plan);
    plan = NULL;
}

/* ---- the loop ---- */

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == agent)
            agent_ended(status);
        else if (pid == command)
            command_ended(status);
    }
    if (pid < 0 && errno == ECHILD && stopping && command == 0)
        exit(exit_status);
}

static void heard(int signal)
{
    switch (signal) {
    case SIGCHLD:
        break;
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        stop(signal);
        break;
    default:
        if (signal == SIGRTMIN + 3)
            stop(signal);
        else if (command > 0)
            kill(command, signal);
    }
}

static int wait_ms(void)
{
    long until = 0;
    if (stopping)
        until = deadline;
    else if (agent == 0)
        until = agent_due;
    if (until == 0)
        return -1;
    long left = until - now_ms();
    return left < 0 ? 0 : (int)left;
}

static void on_time(void)
{
    if (stopping && deadline && now_ms() >= deadline) {
        kill(-1, SIGKILL);
        deadline = now_ms() + GRACE_MS;
    } else if (!stopping && agent == 0 && now_ms() >= agent_due) {
        start_agent();
    }
}

static int listen_to_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE,
                    SIGTTIN, SIGTTOU, SIGTSTP};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &all, NULL);
    return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(void)
{
    /* kill(-1) below must never reach beyond the box. */
    if (getpid() != 1)
        refuse("devbox-init is not the first process of its PID namespace");
    prctl(PR_SET_DUMPABLE, 0); /* nobody but root reads the record from our memory */
    take_record();
    int signals = listen_to_signals();
    if (signals < 0)
        refuse("this kernel gives no signalfd");
    agent_due = now_ms();
    for (;;) {
        on_time();
        struct pollfd watched[2] = {{signals, POLLIN, 0}, {plan_fd, POLLIN, 0}};
        if (poll(watched, 2, wait_ms()) < 0 && errno != EINTR)
            say("cannot wait: %s", strerror(errno));
        if (plan_fd >= 0 && watched[1].revents)
            read_plan();
        struct signalfd_siginfo news;
        while (read(signals, &news, sizeof news) == sizeof news)
            heard((int)news.ssi_signo);
        reap();
    }
}
