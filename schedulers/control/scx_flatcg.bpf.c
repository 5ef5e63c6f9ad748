// SPDX-License-Identifier: GPL-2.0-only
/*
 * scx_flatcg: CPU weights of cgroups, flattened into one level.
 *
 * Policy: the share of a cgroup is the product, over itself and its ancestors, of its
 * weight by the sum of the weights of the active siblings; a cgroup that has tasks beside
 * child cgroups counts these tasks as one more child of NEUTRAL_WEIGHT. Active is who had
 * a task queued or run within ACTIVE_NS; the shares are worked out again every SHARES_NS.
 * So all levels become one: each cgroup has a virtual time, which what its tasks use,
 * divided by its share, moves on. A CPU takes the cgroup that is behind all others and
 * stays with it for GROUP_BUDGET_NS. Within a cgroup, tasks are ordered by vruntime against
 * the cgroup's own clock, with the credit of sleepers and the debt of the others bounded.
 * A task that wakes while an idle CPU suits it runs there at once, and is charged for it.
 * A task whose slice is over may go on, MAX_SLICES times at the most, while it still comes
 * before all who wait.
 *
 * Limits: MAX_GROUPS cgroups, scanned one by one; tasks of those beyond, and all tasks
 * where the cpu controller is not enabled, count as tasks of the root cgroup. cpu.max and
 * cpu.idle are not honoured. Shares are followed with a delay of SHARES_NS + ACTIVE_NS.
 * Progress comes before weights: a single task gets 5:1 against others at the most
 * (MAX_SLICES; 1:1 on kernels that cannot show the first task of a queue, before 6.19),
 * and debt beyond MAX_GROUP_DEBT_NS and MAX_DEBT_NS is forgiven. It behaves badly
 * with many cgroups that wake in turn (each gets the share of an active one for
 * ACTIVE_NS), and where tasks with few CPUs allowed share a cgroup with many others: each
 * CPU has to look past them. Per-task state follows task_state.bpf.h, with its limits.
 *
 * When a CPU goes offline, tasks that wait and were bound to it get other CPUs from the
 * kernel, and go on. Tested, with tasks that never sleep.
 *
 * Known races: clocks, virtual times and shares are read and bounded without a lock; what
 * is lost moves a cgroup by less than a budget. While the shares are worked out a CPU may
 * see old and new ones together. A slot that is given to a new cgroup may still hold
 * the last, dying tasks of the old one; they run as tasks of the new one.
 */
/* How far a task may be ahead of the clock of its cgroup, multiplied by the share of the
 * cgroup and divided by the number of tasks that wait in it; always at least a slice.
 */
#define MAX_DEBT_NS (2000 * NSEC_PER_MSEC)

#include "vtime.bpf.h"

char _license[] SEC("license") = "GPL";

/* Slots for cgroups, a power of two; the first is that of the root and of all that have
 * none.
 */
#define MAX_GROUPS 256
/* Levels of cgroups that count; what lies deeper counts as if it lay there. */
#define MAX_DEPTH 16
/* Of a cgroup; NEUTRAL_WEIGHT is the weight by default. */
#define MAX_WEIGHT 10000
/* How long a CPU stays with a cgroup that has tasks. */
#define GROUP_BUDGET_NS SLICE_NS
/* How long a cgroup counts as active after a task of it was seen. */
#define ACTIVE_NS (100 * NSEC_PER_MSEC)
/* Time between two computations of the shares. */
#define SHARES_NS (20 * NSEC_PER_MSEC)
/* A share of all, and the smallest. */
#define WHOLE (1ULL << 20)
#define MIN_SHARE (WHOLE >> 10)
/* How far a cgroup may be ahead of the clock of cgroups, and behind it. */
#define MAX_GROUP_DEBT_NS (2000 * NSEC_PER_MSEC)
#define GROUP_CREDIT_NS GROUP_BUDGET_NS
/* Cgroups that a CPU tries in the right order, before it takes any task that it may run. */
#define ORDERED_TRIES 8

_Static_assert(MAX_GROUPS >= 2 && MAX_GROUPS <= 1024 && !(MAX_GROUPS & (MAX_GROUPS - 1)),
	       "MAX_GROUPS");
_Static_assert(MAX_DEPTH >= 1 && MAX_DEPTH <= 64, "MAX_DEPTH");
_Static_assert(ACTIVE_NS >= SHARES_NS && ACTIVE_NS <= 10000 * NSEC_PER_MSEC, "ACTIVE_NS");
_Static_assert(SHARES_NS >= NSEC_PER_MSEC, "SHARES_NS");
_Static_assert(MAX_GROUP_DEBT_NS >= GROUP_BUDGET_NS && MAX_GROUP_DEBT_NS <= CLOCK_START_NS,
	       "MAX_GROUP_DEBT_NS");
_Static_assert(ORDERED_TRIES >= 1 && ORDERED_TRIES <= MAX_GROUPS, "ORDERED_TRIES");

/* The dispatch queue of a cgroup is that of the slot's number; there is one for each slot
 * from the start to the end, so that no task can be left in one that is gone.
 */
struct group {
	u64 vtime;		/* what its tasks have used, divided by its share */
	u64 clock;		/* the vruntime that its queue has reached */
	u64 share;		/* of WHOLE */
	u64 last_active_ns;
	u32 weight;
	u32 parent;		/* slot */
	u64 weights;		/* sum of the weights of what is active in it */
	u64 marked;		/* the last computation that found it active */
	u64 in_use;
} __attribute__((aligned(64)));

struct group groups[MAX_GROUPS];
/* Slots below this may have tasks. */
u32 nr_groups = 1;
/* The vtime that has been served. */
u64 groups_clock = CLOCK_START_NS;
u64 shares_not_before_ns;
u64 computations;
u32 computing;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_GROUPS);
	__type(key, u64);
	__type(value, u32);
} slots SEC(".maps");

struct cpu_state {
	u64 budget_ends_ns;
	u32 slot;		/* that the budget is for */
	u32 running;		/* slot of the task that runs */
	u32 slices;		/* that it has had in a row */
} __attribute__((aligned(64)));

struct cpu_state cpus[MAX_CPUS];

/* The mask is for the verifier. */
static __always_inline struct group *group_at(u32 slot)
{
	return &groups[slot & (MAX_GROUPS - 1)];
}

static __always_inline u32 slot_of_id(u64 id)
{
	u32 *slot = bpf_map_lookup_elem(&slots, &id);

	return slot ? *slot : 0;
}

static __always_inline u32 slot_of(struct task_struct *p)
{
	struct cgroup *cgrp = scx_bpf_task_cgroup(p);
	u32 slot = slot_of_id(cgrp->kn->id);

	bpf_cgroup_release(cgrp);
	return slot;
}

/* --- shares --- */

static __always_inline bool has_active_tasks(struct group *g, u64 now)
{
	return g->last_active_ns && (s64)(now - g->last_active_ns) <= (s64)ACTIVE_NS;
}

/* Adds the weight of @slot to its parent, and so on upwards, each once. */
static __always_inline void add_weights(u32 slot)
{
	u32 level;

	bpf_for(level, 0, MAX_DEPTH) {
		struct group *g = group_at(slot);

		if (!slot || g->marked == computations)
			break;
		g->marked = computations;
		slot = g->parent;
		group_at(slot)->weights += g->weight;
	}
}

static __always_inline u64 share_of(u32 slot)
{
	u64 share = WHOLE * NEUTRAL_WEIGHT / (group_at(slot)->weights ?: NEUTRAL_WEIGHT);
	u32 level;

	bpf_for(level, 0, MAX_DEPTH) {
		struct group *g = group_at(slot);

		if (!slot)
			break;
		slot = g->parent;
		share = share * g->weight / (group_at(slot)->weights ?: g->weight);
	}
	return share > MIN_SHARE ? share : MIN_SHARE;
}

static __noinline void compute_shares(u64 now)
{
	u32 slot;

	computations++;
	bpf_for(slot, 0, nr_groups) {
		struct group *g = group_at(slot);

		g->weights = has_active_tasks(g, now) ? NEUTRAL_WEIGHT : 0;
	}
	bpf_for(slot, 0, nr_groups)
		if (has_active_tasks(group_at(slot), now))
			add_weights(slot);
	bpf_for(slot, 0, nr_groups)
		if (has_active_tasks(group_at(slot), now))
			group_at(slot)->share = share_of(slot);
}

/* By one CPU at a time. */
static __always_inline void compute_shares_now_and_then(u64 now)
{
	if (time_before(now, shares_not_before_ns) ||
	    __sync_lock_test_and_set(&computing, 1))
		return;
	shares_not_before_ns = now + SHARES_NS;
	compute_shares(now);
	__sync_fetch_and_and(&computing, 0);
}

/* --- cgroups among each other --- */

static __always_inline u64 group_aged(struct group *g, u64 used_ns)
{
	return used_ns * WHOLE / (g->share ?: WHOLE);
}

/* A task of @g was seen. */
static __always_inline void touch_group(struct group *g)
{
	u64 now = bpf_ktime_get_ns();

	if (!has_active_tasks(g, now))
		shares_not_before_ns = now;
	g->last_active_ns = now;
	if (time_before(g->vtime, groups_clock - GROUP_CREDIT_NS))
		g->vtime = groups_clock - GROUP_CREDIT_NS;
	if (time_before(groups_clock + MAX_GROUP_DEBT_NS, g->vtime))
		g->vtime = groups_clock + MAX_GROUP_DEBT_NS;
}

/* The slot with tasks queued that comes next after @after in the order of vtime, where
 * slots of the same vtime come by number; MAX_GROUPS if there is none.
 */
static __noinline u32 next_group(u32 after)
{
	u64 bound = group_at(after)->vtime, best_vtime = 0;
	u32 slot, best = MAX_GROUPS;

	bpf_for(slot, 0, nr_groups) {
		u64 vtime = group_at(slot)->vtime;

		if (after < MAX_GROUPS &&
		    (time_before(vtime, bound) || (vtime == bound && slot <= after)))
			continue;
		if (best < MAX_GROUPS && !time_before(vtime, best_vtime))
			continue;
		if (scx_bpf_dsq_nr_queued(slot) <= 0)
			continue;
		best = slot;
		best_vtime = vtime;
	}
	return best;
}

/* Moves a task of @slot to this CPU; false if there is none that may run here. */
static __always_inline bool serve(u32 slot)
{
	u64 vtime = group_at(slot)->vtime;

	if (scx_bpf_dsq_nr_queued(slot) <= 0 || !scx_bpf_dsq_move_to_local(slot))
		return false;
	if (time_before(groups_clock, vtime))
		groups_clock = vtime;
	return true;
}

/* The slot that was served, or MAX_GROUPS. */
static __always_inline u32 serve_anew(void)
{
	u32 slot = MAX_GROUPS, i;

	bpf_for(i, 0, ORDERED_TRIES) {
		slot = next_group(slot);
		if (slot >= MAX_GROUPS || serve(slot))
			return slot;
	}
	bpf_for(i, 0, nr_groups)
		if (serve(i))
			return i;
	return MAX_GROUPS;
}

/* --- tasks of a cgroup --- */

static __always_inline void charge(struct task_struct *p, struct task_record *rec, u32 slot,
				   u64 used_ns)
{
	struct group *g = group_at(slot);

	__sync_fetch_and_add(&g->vtime, group_aged(g, used_ns));
	__sync_fetch_and_add(&g->clock, used_ns / (MAX_CLOCK_SLOWDOWN * nr_competing(slot)));
	touch_group(g);
	charge_task(p, rec, g->clock, used_ns);
}

/* Whether @prev, of @slot, comes before all who wait, even after another slice. */
static __always_inline bool is_first(struct task_struct *prev, struct task_record *rec,
				     u32 slot, bool in_budget)
{
	struct group *g = group_at(slot);
	struct task_struct *next;
	u32 rival = slot;

	if (!in_budget || scx_bpf_dsq_nr_queued(slot) <= 0)
		rival = next_group(MAX_GROUPS);
	if (rival >= MAX_GROUPS)
		return false;
	if (rival != slot)
		return time_before(g->vtime + group_aged(g, SLICE_NS),
				   group_at(rival)->vtime);
	next = scx_bpf_dsq_peek(slot);
	return next && time_before(rec->vruntime + scale_by_weight(prev, SLICE_NS),
				   next->scx.dsq_vtime);
}

/* Gives @prev, whose slice is over, another one if it is still first: it is not in its
 * queue yet, so neither it nor a cgroup of one task would ever get more than every other.
 */
static __always_inline bool extends_slice(struct task_struct *prev, struct cpu_state *state,
				    bool in_budget)
{
	u32 slot = state->running;
	struct task_record *rec;

	if (!can_extend_slice(prev, state->slices))
		return false;
	rec = record_find(prev);
	if (!rec ||
	    !is_first(prev, rec, slot, in_budget && slot == state->slot) ||
	    !scx_bpf_task_set_slice(prev, SLICE_NS))
		return false;
	charge(prev, rec, slot, SLICE_NS);
	state->slices++;
	return true;
}

SEC("struct_ops/flatcg_dispatch")
void BPF_PROG(flatcg_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 now = bpf_ktime_get_ns();
	struct cpu_state *state = &cpus[cpu & (MAX_CPUS - 1)];
	bool in_budget = time_before(now, state->budget_ends_ns);
	u32 slot;

	compute_shares_now_and_then(now);
	if (!extends_slice(prev, state, in_budget) && !(in_budget && serve(state->slot))) {
		slot = serve_anew();
		if (slot < MAX_GROUPS) {
			state->slot = slot;
			state->budget_ends_ns = now + GROUP_BUDGET_NS;
		}
	}
	cleanup_dispatch();
}

SEC("struct_ops/flatcg_select_cpu")
s32 BPF_PROG(flatcg_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);

	if (is_idle)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

SEC("struct_ops/flatcg_enqueue")
void BPF_PROG(flatcg_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_record *rec = task_record_get(p);
	u32 slot = slot_of(p);
	struct group *g = group_at(slot);
	u64 max_debt = debt_bound(MAX_DEBT_NS * g->share / WHOLE, nr_competing(slot));

	touch_group(g);
	insert_vtime(p, slot, SLICE_NS, clamp_vtime(rec, g->clock, max_debt), enq_flags);
	kick_idle_cpu(p);
}

SEC("struct_ops/flatcg_running")
void BPF_PROG(flatcg_running, struct task_struct *p)
{
	struct task_record *rec = task_record_get(p);
	u32 slot = slot_of(p);
	struct group *g = group_at(slot);
	struct cpu_state *state = &cpus[scx_bpf_task_cpu(p) & (MAX_CPUS - 1)];

	state->running = slot;
	state->slices = 1;
	touch_group(g);
	if (rec)
		g->clock = clock_of_running(rec, g->clock);
}

SEC("struct_ops/flatcg_stopping")
void BPF_PROG(flatcg_stopping, struct task_struct *p, bool runnable)
{
	charge(p, task_record_get(p), slot_of(p), slice_used(p));
}

SEC("struct_ops/flatcg_exit_task")
void BPF_PROG(flatcg_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	record_exit(p);
}

/* --- cgroups that come, change and go; the kernel calls these one at a time --- */

static __always_inline void start_group(struct group *g, u32 weight, u32 parent)
{
	g->vtime = groups_clock + GROUP_BUDGET_NS;
	g->clock = CLOCK_START_NS;
	g->share = WHOLE / 2;
	g->last_active_ns = 0;
	g->weight = weight;
	g->parent = parent;
	g->in_use = 1;
}

static __always_inline u32 sane_weight(u32 weight)
{
	return weight < 1 ? 1 : weight > MAX_WEIGHT ? MAX_WEIGHT : weight;
}

SEC("struct_ops.s/flatcg_cgroup_init")
s32 BPF_PROG(flatcg_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	u64 id = cgrp->kn->id;
	struct cgroup *parent;
	u32 slot, above;

	/* The root has its slot. */
	if (cgrp->level == 0)
		return 0;
	parent = bpf_cgroup_ancestor(cgrp, cgrp->level - 1);
	if (!parent)
		return 0;
	above = slot_of_id(parent->kn->id);
	bpf_cgroup_release(parent);

	bpf_for(slot, 1, MAX_GROUPS) {
		struct group *g = group_at(slot);

		if (g->in_use)
			continue;
		if (bpf_map_update_elem(&slots, &id, &slot, BPF_ANY))
			break;
		start_group(g, sane_weight(args->weight), above);
		if (nr_groups <= slot)
			nr_groups = slot + 1;
		break;
	}
	/* Where all slots are taken, it goes without. */
	return 0;
}

SEC("struct_ops.s/flatcg_cgroup_exit")
void BPF_PROG(flatcg_cgroup_exit, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;
	u32 slot = slot_of_id(id);

	if (!slot)
		return;
	bpf_map_delete_elem(&slots, &id);
	group_at(slot)->in_use = 0;
}

SEC("struct_ops/flatcg_cgroup_set_weight")
void BPF_PROG(flatcg_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	u32 slot = slot_of_id(cgrp->kn->id);

	if (slot)
		group_at(slot)->weight = sane_weight(weight);
}

/* A task takes its distance to the clock along. */
SEC("struct_ops/flatcg_cgroup_move")
void BPF_PROG(flatcg_cgroup_move, struct task_struct *p, struct cgroup *from,
	      struct cgroup *to)
{
	struct task_record *rec = record_find(p);
	u64 old_clock = group_at(slot_of_id(from->kn->id))->clock;
	u64 new_clock = group_at(slot_of_id(to->kn->id))->clock;

	if (rec && !is_new(rec))
		rec->vruntime = clamp_vtime(rec, old_clock, MAX_DEBT_NS) + new_clock - old_clock;
}

/* Without these two the kernel throws the scheduler out when a CPU comes or goes. */
SEC("struct_ops/flatcg_cpu_online")
void BPF_PROG(flatcg_cpu_online, s32 cpu) {}

SEC("struct_ops/flatcg_cpu_offline")
void BPF_PROG(flatcg_cpu_offline, s32 cpu) {}

SEC("struct_ops.s/flatcg_init")
s32 BPF_PROG(flatcg_init)
{
	s32 err = 0;
	u32 slot;

	if (scx_bpf_nr_cpu_ids() > MAX_CPUS)
		return -E2BIG;
	start_group(&groups[0], NEUTRAL_WEIGHT, 0);
	bpf_for(slot, 0, MAX_GROUPS) {
		err = scx_bpf_create_dsq(slot, -1);
		if (err)
			break;
	}
	return err ?: cleanup_init();
}

SEC(".struct_ops.link")
struct sched_ext_ops flatcg_ops = {
	.select_cpu	= (void *)flatcg_select_cpu,
	.enqueue	= (void *)flatcg_enqueue,
	.dispatch	= (void *)flatcg_dispatch,
	.running	= (void *)flatcg_running,
	.stopping	= (void *)flatcg_stopping,
	.exit_task	= (void *)flatcg_exit_task,
	.cgroup_init	= (void *)flatcg_cgroup_init,
	.cgroup_exit	= (void *)flatcg_cgroup_exit,
	.cgroup_set_weight = (void *)flatcg_cgroup_set_weight,
	.cgroup_move	= (void *)flatcg_cgroup_move,
	.cpu_online	= (void *)flatcg_cpu_online,
	.cpu_offline	= (void *)flatcg_cpu_offline,
	.init		= (void *)flatcg_init,
	.timeout_ms	= TIMEOUT_MS,
	.name		= OPS_NAME,
};
