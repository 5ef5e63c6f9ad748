// SPDX-License-Identifier: GPL-2.0-only
/* heartbeat RATE SECONDS: wakes up RATE times a second, and prints how often it did. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;

	long rate = atol(argv[1]), beats = rate * atol(argv[2]), beat;
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (beat = 0; beat < beats; beat++) {
		next.tv_nsec += 1000000000 / rate;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	printf("%ld\n", beat);
	return 0;
}
