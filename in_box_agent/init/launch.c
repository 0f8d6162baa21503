/* devbox-agent: the bundle's interpreter with the bundle's own code, and nothing of the image's.
 *
 * -I and -S: no PYTHONHOME, PYTHONPATH, user or image site-packages; -X utf8: whatever the
 * image's locale; -OO: docstrings take megabytes. Static, because the image may hold no shell
 * and no libc.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PYTHON "/.devbox/bin/python3"
enum { FIXED = 8 };

int main(int argc, char **argv)
{
    char *row[64] = {PYTHON, "-I", "-S", "-B", "-OO", "-X", "utf8", "/.devbox/app"};
    for (int i = 1; i < argc && FIXED + i < 64; i++)
        row[FIXED + i - 1] = argv[i];
    execv(PYTHON, row);
    dprintf(2, "devbox-agent: cannot start %s: %s\n", PYTHON, strerror(errno));
    return 127;
}
