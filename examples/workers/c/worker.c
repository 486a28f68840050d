/* The smallest correct worker in C: cc -O2 -o worker worker.c */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 3, REPLIES = 4, EXIT = 5, REPLY_MAX = 4096, TOKEN_MAX = 64 };
enum { ITEM_MAX = 1 << 20 }; /* the queue's max-item */

/* An item may hold any byte but a line feed. The result is one line; its length is told even if there is no room for it. */
static size_t work(const char *item, size_t length, char *result, size_t room) {
    if (length + 6 <= room) memcpy((char *)memcpy(result, "c did ", 6) + 6, item, length);
    return length + 6;
}

static void cleanup(void) { fputs("c cleaned up\n", stderr); }

/* Waits for an item or the exit event, and says whether it was the event. */
static int leaving(int timeout) {
    struct pollfd fds[] = {{ITEMS, POLLIN, 0}, {EXIT, POLLIN, 0}};
    while (poll(fds, 2, timeout) < 0 && errno == EINTR) {}
    return fds[1].revents != 0;
}

/* The reply is one write, so that it is whole. */
static int answer(const char *token, int token_length, const char *item, size_t length) {
    char reply[REPLY_MAX];
    int end = snprintf(reply, sizeof reply, "ok %.*s ", token_length, token);
    size_t room = sizeof reply - end - 1, result = work(item, length, reply + end, room);
    if (result <= room) {
        end += result;
    } else {
        const char *format = "fail %.*s a result of %zu bytes does not fit in a reply";
        end = snprintf(reply, sizeof reply, format, token_length, token, result);
    }
    reply[end++] = '\n';
    return write(REPLIES, reply, end) == end;
}

/* Until the end, the event, or a fault. What is left in the buffer then has no line feed or is not begun. */
static int serve(void) {
    static char buffer[ITEM_MAX + TOKEN_MAX];
    size_t have = 0;
    while (!leaving(-1)) {
        ssize_t got = read(ITEMS, buffer + have, sizeof buffer - have);
        if (got <= 0) return got < 0 || have == sizeof buffer;
        have += got;
        char *line = buffer, *end;
        while ((end = memchr(line, '\n', buffer + have - line))) {
            char *space = memchr(line, ' ', end - line);
            if (!space || space - line >= TOKEN_MAX) return 1;
            if (!answer(line, space - line, space + 1, end - space - 1)) return 1;
            line = end + 1;
            if (leaving(0)) return 0;
        }
        have = buffer + have - line;
        memmove(buffer, line, have);
    }
    return 0;
}

/* Should exeunt be killed, our answer fails, and we still clean up. (What we start would inherit SIG_IGN.) */
static void no_pipe(int signal) { (void)signal; }

int main(void) {
    signal(SIGPIPE, no_pipe);
    int code = serve();
    cleanup();
    return code;
}
