// The whole user space of a guest that the tests boot: it configures the
// network as the kernel's command line says, greets over HTTP and echoes over
// UDP as the stand-in for a guest does, and asks others when it is told to.
//
// Unknown words of the command line (`guest_name=one`) are the environment of
// init: Documentation/admin-guide/kernel-parameters.rst.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	LIFE = 180,             // seconds until the guest ends by itself
	SILENCE = 10,           // seconds for which it waits for a peer
	HEAD = 2048,            // bytes of a request or of an answer's head
	CHUNK = 1 << 16,        // bytes at once of a long body, of 8 each
	LINKS_WAIT = 10 * 1000, // milliseconds for a card to appear
};

// As in linux/ipv6.h, which musl does not bring.
struct in6_ifreq {
	struct in6_addr address;
	unsigned prefix;
	int index;
};

static void die(const char *what)
{
	printf("guest: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	reboot(RB_POWER_OFF);
	_exit(1);
}

#define TRY(call) do { if ((call) < 0) die(#call); } while (0)

static const char *word(const char *name)
{
	const char *value = getenv(name);
	if (!value) {
		errno = ENOENT;
		die(name);
	}
	return value;
}

static void load_modules(void)
{
	char path[32];
	for (int number = 0;; number++) {
		snprintf(path, sizeof path, "/modules/%d", number);
		int file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			return;
		if (syscall(SYS_finit_module, file, "", 0) < 0 && errno != EEXIST)
			die(path);
		close(file);
	}
}

// The first Ethernet card.
static void find_link(int socket, struct ifreq *link)
{
	for (int waited = 0; waited < LINKS_WAIT; waited += 10) {
		struct if_nameindex *all = if_nameindex();
		for (struct if_nameindex *each = all; all && each->if_index; each++) {
			memset(link, 0, sizeof *link);
			strncpy(link->ifr_name, each->if_name, IFNAMSIZ - 1);
			if (!ioctl(socket, SIOCGIFHWADDR, link) &&
			    link->ifr_hwaddr.sa_family == ARPHRD_ETHER) {
				if_freenameindex(all);
				return;
			}
		}
		if_freenameindex(all);
		usleep(10 * 1000);
	}
	errno = ENODEV;
	die("no Ethernet card");
}

// Splits ADDRESS/PREFIX.
static int split(char *address, size_t room, const char *value)
{
	snprintf(address, room, "%s", value);
	char *slash = strchr(address, '/');
	if (!slash) {
		errno = EINVAL;
		die(value);
	}
	*slash = 0;
	return atoi(slash + 1);
}

static void configure_ipv4(int socket, struct ifreq link)
{
	char address[INET6_ADDRSTRLEN + 4];
	int prefix = split(address, sizeof address, word("guest_ipv4"));
	struct sockaddr_in *value = (void *)&link.ifr_addr;
	value->sin_family = AF_INET;
	value->sin_addr.s_addr = inet_addr(address);
	TRY(ioctl(socket, SIOCSIFADDR, &link));
	value->sin_addr.s_addr = htonl(prefix ? ~0u << (32 - prefix) : 0);
	TRY(ioctl(socket, SIOCSIFNETMASK, &link));
	TRY(ioctl(socket, SIOCGIFFLAGS, &link));
	link.ifr_flags |= IFF_UP;
	TRY(ioctl(socket, SIOCSIFFLAGS, &link));

	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
	value = (void *)&route.rt_gateway;
	value->sin_family = AF_INET;
	value->sin_addr.s_addr = inet_addr(word("gateway_ipv4"));
	TRY(ioctl(socket, SIOCADDRT, &route));
}

// An address is usable at once: nobody else is on this wire.
static void skip_duplicate_detection(const char *link)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_dad", link);
	int file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, "0", 1) != 1)
		die(path);
	close(file);
}

static void configure_ipv6(const char *link)
{
	char address[INET6_ADDRSTRLEN + 4];
	struct in6_ifreq change = {
		.prefix = split(address, sizeof address, word("guest_ipv6")),
		.index = if_nametoindex(link),
	};
	skip_duplicate_detection("all");
	skip_duplicate_detection(link);
	int socket6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (inet_pton(AF_INET6, address, &change.address) != 1)
		die(address);
	TRY(ioctl(socket6, SIOCSIFADDR, &change));
	struct in6_rtmsg route = {
		.rtmsg_metric = 1,
		.rtmsg_flags = RTF_UP | RTF_GATEWAY,
		.rtmsg_ifindex = change.index,
	};
	if (inet_pton(AF_INET6, word("gateway_ipv6"), &route.rtmsg_gateway) != 1)
		die("gateway_ipv6");
	TRY(ioctl(socket6, SIOCADDRT, &route));
	close(socket6);
}
