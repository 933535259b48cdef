// Goes on after network.c: what the guest answers, and to whom it talks.

// ---- others ----

// A peer as Rust prints it: 192.0.2.1:80, [2001:db8::1]:80.
static void print_peer(char *text, size_t room, const struct sockaddr_in6 *peer)
{
	char address[INET6_ADDRSTRLEN];
	const struct sockaddr_in *ipv4 = (const void *)peer;
	if (peer->sin6_family == AF_INET) {
		inet_ntop(AF_INET, &ipv4->sin_addr, address, sizeof address);
		snprintf(text, room, "%s:%d", address, ntohs(ipv4->sin_port));
	} else {
		inet_ntop(AF_INET6, &peer->sin6_addr, address, sizeof address);
		snprintf(text, room, "[%s]:%d", address, ntohs(peer->sin6_port));
	}
}

static void limit_silence(int socket)
{
	struct timeval limit = { .tv_sec = SILENCE };
	setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

// Connects to what a path names: ADDRESS/PORT.
static int call(char *target, int kind)
{
	char *slash = strchr(target, '/');
	if (!slash)
		return -1;
	*slash = 0;
	struct addrinfo *found, wanted = { .ai_flags = AI_NUMERICHOST, .ai_socktype = kind };
	if (getaddrinfo(target, slash + 1, &wanted, &found))
		return -1;
	int peer = socket(found->ai_family, kind | SOCK_CLOEXEC, 0);
	limit_silence(peer);
	if (connect(peer, found->ai_addr, found->ai_addrlen) < 0) {
		close(peer);
		peer = -1;
	}
	freeaddrinfo(found);
	return peer;
}

static int send_all(int socket, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(socket, bytes, length, 0);
		if (sent <= 0)
			return -1;
		bytes += sent;
		length -= sent;
	}
	return 0;
}

// The body of an HTTP server's answer; its length, or -1.
static ssize_t fetch(char *target, char *body, size_t room)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";
	char answer[HEAD] = { 0 };
	size_t length = 0;
	ssize_t part;
	int server = call(target, SOCK_STREAM);
	if (server < 0 || send_all(server, request, sizeof request - 1) < 0)
		return -1;
	while ((part = read(server, answer + length, sizeof answer - 1 - length)) > 0)
		length += part;
	close(server);
	char *start = strstr(answer, "\r\n\r\n");
	return start ? snprintf(body, room, "%s", start + 4) : -1;
}

static ssize_t ask(char *target, char *answer, size_t room)
{
	int server = call(target, SOCK_DGRAM);
	if (server < 0 || send(server, "ping", 4, 0) < 0)
		return -1;
	ssize_t length = recv(server, answer, room, 0);
	close(server);
	return length;
}

// ---- a memory, by which one guest is told from another ----

static ssize_t keep(const char *text)
{
	int file = open("/kept", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t length = write(file, text, strlen(text));
	close(file);
	return length < 0 ? -1 : 0;
}

static ssize_t kept(char *body, size_t room)
{
	int file = open("/kept", O_RDONLY | O_CLOEXEC);
	ssize_t length = read(file, body, room);
	close(file);
	return length;
}

// ---- long bodies: each 8 bytes are their own place, in hexadecimal ----

static void fill(char *chunk, size_t place)
{
	for (size_t offset = 0; offset < CHUNK; offset++) {
		size_t here = place + (offset & ~7ul);
		chunk[offset] = "0123456789abcdef"[here >> (28 - 4 * (offset & 7)) & 15];
	}
}

static int send_long(int socket, size_t length)
{
	static char chunk[CHUNK];
	for (size_t place = 0; place < length; place += CHUNK) {
		size_t left = length - place;
		fill(chunk, place);
		if (send_all(socket, chunk, left < CHUNK ? left : CHUNK) < 0)
			return -1;
	}
	return 0;
}

// Reads what a peer sends until it ends; tells how much of it was right.
static ssize_t pull(char *target, char *body, size_t room)
{
	static char wanted[CHUNK], chunk[CHUNK];
	size_t right = 0;
	ssize_t part;
	int peer = call(target, SOCK_STREAM);
	if (peer < 0)
		return -1;
	do {
		fill(wanted, right);
		part = recv(peer, chunk, sizeof chunk, MSG_WAITALL);
		if (part > 0 && memcmp(chunk, wanted, part))
			break;
		right += part > 0 ? part : 0;
	} while (part == CHUNK);
	close(peer);
	return snprintf(body, room, "%zu right", right);
}

// ---- serving ----

static int answer(int client, const char *peer, char *path, int closes)
{
	char body[HEAD], head[HEAD];
	ssize_t length;
	size_t bulk = 0;
	if (!strncmp(path, "/tcp/", 5))
		length = fetch(path + 5, body, sizeof body);
	else if (!strncmp(path, "/udp/", 5))
		length = ask(path + 5, body, sizeof body);
	else if (!strncmp(path, "/pull/", 6))
		length = pull(path + 6, body, sizeof body);
	else if (!strncmp(path, "/keep/", 6))
		length = keep(path + 6);
	else if (!strcmp(path, "/kept"))
		length = kept(body, sizeof body);
	else if (!strncmp(path, "/bulk/", 6))
		length = bulk = strtoul(path + 6, NULL, 10);
	else
		length = snprintf(body, sizeof body, "hello from %s%s%s, you are %s\n",
				  word("guest_name"), path[1] ? " at " : "",
				  path[1] ? path : "", peer);
	int head_length = snprintf(head, sizeof head,
		"HTTP/1.1 %s\r\nContent-Length: %zd\r\nConnection: %s\r\n\r\n",
		length < 0 ? "504 Gateway Timeout" : "200 OK", length < 0 ? 0 : length,
		closes ? "close" : "keep-alive");
	if (send_all(client, head, head_length) < 0)
		return -1;
	if (bulk)
		return send_long(client, bulk);
	return length > 0 ? send_all(client, body, length) : 0;
}

static void talk(int client, const struct sockaddr_in6 *address)
{
	char head[HEAD] = { 0 }, peer[64], path[256];
	size_t length = 0;
	ssize_t part;
	print_peer(peer, sizeof peer, address);
	limit_silence(client);
	while ((part = read(client, head + length, sizeof head - 1 - length)) > 0) {
		length += part;
		head[length] = 0;
		char *end = strstr(head, "\r\n\r\n");
		if (!end)
			continue;
		*end = 0;
		int closes = strstr(head, "Connection: close") != NULL;
		if (sscanf(head, "GET %255s", path) != 1 ||
		    answer(client, peer, path, closes) < 0 || closes)
			break;
		end += 4;
		length -= end - head;
		memmove(head, end, length);
	}
	shutdown(client, SHUT_WR);
	_exit(0);
}

static void serve_http(int listener)
{
	TRY(listen(listener, 64));
	for (;;) {
		struct sockaddr_in6 peer;
		socklen_t length = sizeof peer;
		int client = accept(listener, (void *)&peer, &length);
		if (client >= 0 && fork() == 0)
			talk(client, &peer);
		close(client);
	}
}

static void serve_echo(int socket)
{
	for (;;) {
		char answer[4096];
		struct sockaddr_in6 peer;
		socklen_t length = sizeof peer;
		char *payload = answer + 64;
		ssize_t got = recvfrom(socket, payload, sizeof answer - 64, 0, (void *)&peer, &length);
		if (got < 0)
			continue;
		print_peer(answer, 63, &peer);
		size_t start = strlen(answer);
		answer[start++] = ' ';
		memmove(answer + start, payload, got);
		sendto(socket, answer, start + got, 0, (void *)&peer, length);
	}
}

// A process for each port.
static void serve(int family, int kind, void (*run)(int))
{
	int one = 1, server = socket(family, kind | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 any = { .sin6_family = family, .sin6_port = htons(atoi(word("guest_port"))) };
	socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof any;
	if (family == AF_INET6)
		TRY(setsockopt(server, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one));
	TRY(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	TRY(bind(server, (void *)&any, length));
	if (fork() == 0)
		run(server);
	close(server);
}

int main(void)
{
	struct ifreq link;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); // whoever ends is not waited for
	mkdir("/proc", 0555);
	TRY(mount("proc", "/proc", "proc", 0, NULL));
	load_modules();
	int socket4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	find_link(socket4, &link);
	configure_ipv4(socket4, link);
	configure_ipv6(link.ifr_name);
	for (int each = 0; each < 2; each++) {
		int family = each ? AF_INET6 : AF_INET;
		serve(family, SOCK_STREAM, serve_http);
		serve(family, SOCK_DGRAM, serve_echo);
	}
	printf("guest: up\n");
	fflush(stdout);
	sleep(LIFE);
	reboot(RB_POWER_OFF);
	return 0;
}
