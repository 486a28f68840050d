/* The smallest correct worker in C: cc -O2 -o worker worker.c */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 3, REPLIES = 4, EXIT = 5, REPLY_MAX = 4096 };

/* Waits for an item or the exit event, and says whether it was the event. */
static int leaving(int timeout) {
    struct pollfd fds[] = {{ITEMS, POLLIN, 0}, {EXIT, POLLIN, 0}};
    while (poll(fds, 2, timeout) < 0 && errno == EINTR) {}
    return fds[1].revents != 0;
}

static char *append(char *to, const char *bytes, size_t length) { return (char *)memcpy(to, bytes, length) + length; }

/* The work: an item may hold any byte but a line feed. The reply is one write, so that it is whole. */
static int work(const char *token, size_t token_length, const char *item, size_t length) {
    char reply[REPLY_MAX], *end = reply;
    if (token_length + length + 12 > sizeof reply) return 0;
    end = append(end, "ok ", 3);
    end = append(end, token, token_length);
    end = append(end, " c did ", 7);
    end = append(end, item, length);
    end = append(end, "\n", 1);
    return write(REPLIES, reply, end - reply) == end - reply;
}

int main(void) {
    static char buffer[65536]; /* more than the queue's max-item and a token */
    size_t have = 0;
    while (!leaving(-1)) {
        ssize_t got = read(ITEMS, buffer + have, sizeof buffer - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break; /* the end; what is left in the buffer has no line feed: it is no item */
        have += got;
        char *line = buffer, *end;
        while ((end = memchr(line, '\n', buffer + have - line))) {
            char *space = memchr(line, ' ', end - line);
            if (!space || !work(line, space - line, space + 1, end - space - 1)) return 1;
            line = end + 1;
            if (leaving(0)) break;
        }
        have = buffer + have - line;
        memmove(buffer, line, have);
    }
    return 0; /* clean up here */
}
