// SPDX-License-Identifier: Apache-2.0
// Sends each line of its input over TLS to a port of this machine, and reads an answer.
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
	char line[256], answer[256];
	size_t sent, read;

	if (argc != 3)
		return 1;
	to.sin_port = htons(atoi(argv[1]));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (void *)&to, sizeof(to)) || !SSL_set_fd(ssl, fd) || SSL_connect(ssl) != 1)
		return 2;
	// There are two ways to say it, and a program uses either.
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(argv[2], "ex")) {
			if (!SSL_write_ex(ssl, line, strlen(line), &sent) || !SSL_read_ex(ssl, answer, sizeof(answer), &read))
				return 3;
		} else if (SSL_write(ssl, line, strlen(line)) <= 0 || SSL_read(ssl, answer, sizeof(answer)) <= 0) {
			return 4;
		}
	}
	return 0;
}
