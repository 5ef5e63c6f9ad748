// SPDX-License-Identifier: GPL-2.0-only
/*
 * churn RATE BURST LIFETIME_MS SECONDS SEED
 *
 * Starts bursts of BURST processes, RATE processes a second on average, each of which
 * sleeps about LIFETIME_MS and ends. The gaps between bursts and the life times are drawn
 * uniformly between half and one and a half of their means; the sequence depends on SEED
 * alone. Bursts have absolute deadlines, so a slow one does not delay those after it;
 * what the machine cannot keep up with shows in spawns_per_s.
 *
 * Prints one line of JSON: spawned, failed (forks refused), late_bursts (more than a mean
 * gap behind), seconds, spawns_per_s, and overrun_p50_ms and overrun_p99_ms: how much
 * longer a process existed, from before its fork until it was reaped, than it meant to.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define MAX_LIVE 16384
#define MAX_OVERRUNS (1 << 20)

struct child {
	pid_t pid;
	uint64_t start_ns;
	uint64_t lifetime_ns;
};

static struct child live[MAX_LIVE];
static int nr_live;
static double overruns_ms[MAX_OVERRUNS];
static size_t nr_overruns;
static uint64_t spawned, failed, late_bursts;
static uint64_t random_state;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){ ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };
}

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) */
static uint64_t next_random(void)
{
	uint64_t z = (random_state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t around(uint64_t mean)
{
	return mean ? mean / 2 + next_random() % (mean + 1) : 0;
}

static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (int i = 0; i < nr_live; i++) {
			struct child *c = &live[i];
			double lived;

			if (c->pid != pid)
				continue;
			lived = now_ns() - c->start_ns;
			if (nr_overruns < MAX_OVERRUNS)
				overruns_ms[nr_overruns++] =
					(lived - c->lifetime_ns) / NSEC_PER_MSEC;
			*c = live[--nr_live];
			break;
		}
	}
}

static void spawn(uint64_t lifetime_ns)
{
	struct timespec ts = to_timespec(lifetime_ns);
	uint64_t start = now_ns();
	pid_t pid;

	if (nr_live == MAX_LIVE) {
		failed++;
		return;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		nanosleep(&ts, NULL);
		_exit(0);
	}
	if (pid < 0) {
		failed++;
		return;
	}
	spawned++;
	live[nr_live++] = (struct child){ pid, start, lifetime_ns };
}

/* Reap children as they end, until the deadline. */
static void wait_until(uint64_t deadline, const sigset_t *sigchld)
{
	uint64_t now;

	for (reap(); (now = now_ns()) < deadline; reap()) {
		struct timespec left = to_timespec(deadline - now);

		sigtimedwait(sigchld, NULL, &left);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double overrun_quantile_ms(double q)
{
	return overruns_ms[(size_t)(q * (nr_overruns - 1))];
}

static uint64_t number(const char *text, const char *name, uint64_t low, uint64_t high)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text || value < low || value > high) {
		fprintf(stderr, "churn: %s %s: a whole number from %llu to %llu\n", name, text,
			(unsigned long long)low, (unsigned long long)high);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	uint64_t rate, burst, lifetime, start, end, gap, deadline;
	sigset_t sigchld;
	double seconds;

	if (argc != 6) {
		fprintf(stderr, "usage: churn RATE BURST LIFETIME_MS SECONDS SEED\n");
		return 2;
	}
	rate = number(argv[1], "RATE", 1, 100000);
	burst = number(argv[2], "BURST", 1, 1000);
	lifetime = number(argv[3], "LIFETIME_MS", 0, 60000) * NSEC_PER_MSEC;
	start = now_ns();
	end = start + number(argv[4], "SECONDS", 1, 86400) * NSEC_PER_SEC;
	random_state = number(argv[5], "SEED", 0, UINT64_MAX);
	gap = burst * NSEC_PER_SEC / rate;

	/* Blocked, so that sigtimedwait sees it. */
	sigemptyset(&sigchld);
	sigaddset(&sigchld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &sigchld, NULL);

	for (deadline = start; deadline < end && now_ns() < end; deadline += around(gap)) {
		wait_until(deadline, &sigchld);
		late_bursts += now_ns() > deadline + gap;
		for (uint64_t i = 0; i < burst; i++)
			spawn(around(lifetime));
	}
	wait_until(end, &sigchld);
	seconds = (double)(now_ns() - start) / NSEC_PER_SEC;
	if (!nr_overruns) {
		fprintf(stderr, "churn: no process ended within the time\n");
		return 1;
	}
	qsort(overruns_ms, nr_overruns, sizeof(*overruns_ms), by_value);
	printf("{\"spawned\": %llu, \"failed\": %llu, \"late_bursts\": %llu, "
	       "\"seconds\": %.3f, \"spawns_per_s\": %.2f, "
	       "\"overrun_p50_ms\": %.3f, \"overrun_p99_ms\": %.3f}\n",
	       (unsigned long long)spawned, (unsigned long long)failed,
	       (unsigned long long)late_bursts, seconds, spawned / seconds,
	       overrun_quantile_ms(0.5), overrun_quantile_ms(0.99));
	return 0;
}
