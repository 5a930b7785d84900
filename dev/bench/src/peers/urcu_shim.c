/* What liburcu's QSBR flavour keeps in inline functions: where its two counters are. */

#define _LGPL_SOURCE
#include <urcu/urcu-qsbr.h>

_Static_assert(sizeof(struct rcu_head) <= 2 * sizeof(void *), "peers/urcu.rs reserves two words");

const unsigned long *hotread_bench_urcu_gp_counter(void) { return &urcu_qsbr_gp.ctr; }

const unsigned long *hotread_bench_urcu_thread_counter(void)
{
	return &URCU_TLS(urcu_qsbr_reader).ctr;
}
