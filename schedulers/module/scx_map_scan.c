// SPDX-License-Identifier: GPL-2.0-only
/*
 * scx_bpf_map_scan_timeout() for kernels that do not have it.
 *
 *	int scx_bpf_map_scan_timeout(struct bpf_map *map, u64 timeout_ns,
 *				     u64 max_age_ns, u32 *evicted);
 *
 * Deletes the entries of a hash map whose time stamp is older than max_age_ns, for
 * timeout_ns at the most, and never for more than MAX_TIME_NS. The time stamp is the last
 * u64 of the value, on the clock of bpf_ktime_get_ns(). Returns 0 after a whole turn,
 * -ETIMEDOUT when time ran out: the next call goes on at the entry where this one stopped.
 * -EBUSY when another CPU scans the same map, or as many maps are being scanned as there
 * are cursors; -E2BIG for a map of more than MAX_BUCKETS buckets (the kernel gives a hash
 * map the next power of two of its max_entries); -EOPNOTSUPP and -EINVAL for maps that
 * cannot be scanned. What was deleted is put into the kernel log, entries and not calls,
 * added up per map.
 *
 * May be called with a run queue's lock held: it never sleeps, and does not print
 * itself (a console driver may wake somebody up, who needs that lock).
 *
 * Both bounds are for the machine: a caller may hold the lock of a run queue, and a fault
 * in a BPF program must not be able to keep that CPU for as long as it asks.
 *
 * Limits: the clock is read every CLOCK_EVERY entries, and one step of the iteration may
 * cross many empty buckets, so the time is overrun by more the emptier the map is, by
 * CLOCK_EVERY entries and a walk over MAX_BUCKETS empty buckets at the most. If
 * the entry where a scan stopped has gone, the next one starts at the first bucket. An
 * entry that is refreshed between the check and its deletion is lost.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/irq_work.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#define CURSORS 8
#define KEY_BYTES 64
#define CLOCK_EVERY 8
#define MAX_TIME_NS (10 * NSEC_PER_MSEC)
#define MAX_BUCKETS (1 << 16)

/* Where the scan of one map stopped, and what it has to report. */
struct cursor {
	unsigned long locked;		/* bit 0 */
	u32 map_id;			/* 0: free */
	char map_name[BPF_OBJ_NAME_LEN];
	bool midway;
	u8 key[KEY_BYTES] __aligned(8);
	atomic_t evicted;
	atomic_t scanned;
	struct irq_work leave_lock;
	struct work_struct print;
};

static struct cursor cursors[CURSORS];

static void cursor_print(struct work_struct *work)
{
	struct cursor *c = container_of(work, struct cursor, print);
	int scanned = atomic_xchg(&c->scanned, 0);
	int evicted = atomic_xchg(&c->evicted, 0);

	if (evicted)
		pr_info("map %s (id %u): evicted %d of %d scanned\n", c->map_name,
			READ_ONCE(c->map_id), evicted, scanned);
}

/* In an interrupt of its own, where no run queue is locked. */
static void cursor_leave_lock(struct irq_work *irq_work)
{
	struct cursor *c = container_of(irq_work, struct cursor, leave_lock);

	schedule_work(&c->print);
}

static bool cursor_try(struct cursor *c)
{
	return !test_and_set_bit_lock(0, &c->locked);
}

static void cursor_unlock(struct cursor *c)
{
	clear_bit_unlock(0, &c->locked);
}

/* The locked cursor of @map; a free one becomes its own. A cursor is never taken away
 * from its map: ids are not reused, and the module lives as long as one experiment.
 */
static struct cursor *cursor_lock(const struct bpf_map *map)
{
	struct cursor *c;

	for (c = cursors; c < cursors + CURSORS; c++) {
		u32 owner = READ_ONCE(c->map_id);

		if (owner && owner != map->id)
			continue;
		if (!cursor_try(c)) {
			if (owner)
				return NULL;
			continue;
		}
		if (!c->map_id) {
			strscpy(c->map_name, map->name, sizeof(c->map_name));
			WRITE_ONCE(c->map_id, map->id);
		}
		if (c->map_id == map->id)
			return c;
		cursor_unlock(c);
	}
	return NULL;
}

static bool is_stale(const struct bpf_map *map, const void *value, u64 now, u64 max_age)
{
	u64 stamp = READ_ONCE(*(u64 *)(value + map->value_size - sizeof(u64)));

	return stamp < now && now - stamp > max_age;
}

/* The first key of a scan: where the last one stopped, if that is still there. */
static bool first_key(struct bpf_map *map, struct cursor *c, void *key)
{
	if (c->midway && map->ops->map_lookup_elem(map, c->key)) {
		memcpy(key, c->key, map->key_size);
		return true;
	}
	return !map->ops->map_get_next_key(map, NULL, key);
}

__bpf_kfunc_start_defs();

/* The suffix __map makes the verifier check the argument as a map. */
__bpf_kfunc int scx_bpf_map_scan_timeout(struct bpf_map *map__map, u64 timeout_ns,
					 u64 max_age_ns, u32 *evicted)
{
	struct bpf_map *map = map__map;
	u8 buffers[2][KEY_BYTES] __aligned(8);
	void *key = buffers[0], *next = buffers[1];
	u32 scanned = 0, deleted = 0;
	/* Walks restart when their key goes away: bounded also then. */
	u32 most = map->max_entries * 2;
	u64 start, now;
	struct cursor *c;
	bool more;

	*evicted = 0;
	if (map->map_type != BPF_MAP_TYPE_HASH)
		return -EOPNOTSUPP;
	if (map->key_size > KEY_BYTES || map->value_size < sizeof(u64))
		return -EINVAL;
	if (map->max_entries > MAX_BUCKETS)
		return -E2BIG;
	timeout_ns = min(timeout_ns, (u64)MAX_TIME_NS);
	c = cursor_lock(map);
	if (!c)
		return -EBUSY;

	start = ktime_get_mono_fast_ns();
	now = start;
	rcu_read_lock();
	for (more = first_key(map, c, key); more && scanned < most; scanned++) {
		void *value;

		if (scanned % CLOCK_EVERY == 0) {
			now = ktime_get_mono_fast_ns();
			if (now - start >= timeout_ns)
				break;
		}
		value = map->ops->map_lookup_elem(map, key);
		/* Before the deletion: afterwards the place is lost. */
		more = !map->ops->map_get_next_key(map, key, next);
		if (value && is_stale(map, value, now, max_age_ns) &&
		    !map->ops->map_delete_elem(map, key))
			deleted++;
		swap(key, next);
	}
	rcu_read_unlock();

	c->midway = more;
	if (more)
		memcpy(c->key, key, map->key_size);
	*evicted = deleted;
	if (deleted) {
		atomic_add(scanned, &c->scanned);
		atomic_add(deleted, &c->evicted);
		irq_work_queue(&c->leave_lock);
	}
	cursor_unlock(c);
	return more ? -ETIMEDOUT : 0;
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(map_scan_kfuncs)
BTF_ID_FLAGS(func, scx_bpf_map_scan_timeout)
BTF_KFUNCS_END(map_scan_kfuncs)

static const struct btf_kfunc_id_set map_scan_set = {
	.owner = THIS_MODULE,
	.set = &map_scan_kfuncs,
};

static int __init map_scan_init(void)
{
	for (struct cursor *c = cursors; c < cursors + CURSORS; c++) {
		init_irq_work(&c->leave_lock, cursor_leave_lock);
		INIT_WORK(&c->print, cursor_print);
	}
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &map_scan_set);
}

/* No program can be running: each holds a reference to the module. */
static void __exit map_scan_exit(void)
{
	for (struct cursor *c = cursors; c < cursors + CURSORS; c++) {
		irq_work_sync(&c->leave_lock);
		flush_work(&c->print);
	}
}

module_init(map_scan_init);
module_exit(map_scan_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Evict stale entries of BPF hash maps within a time limit");
