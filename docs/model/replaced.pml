/* A replaced store, and `services resume` (G2). The disk of site A is lost and it begins anew with an empty data_dir;
 * what its service holds nobody can tell it: all of before, or nothing. A peer that names a log of this site which its
 * new store does not know puts it in doubt, durably: it follows and takes nothing until a person resumes. He does so
 * where the service is empty too; where it is not, the site stays in doubt (and is given the state of another one).
 * Site B is well, and is killed now and then. How a write is decided is in protocol.pml: here it is one step. */
#define A 0
#define BB 1
#define L(s,l) ((s)*3+(l))                      /* logs: 0 of B, 1 of A's first store, 2 of A's second */
#define N 2                                     /* writes of a log at most */
byte has[6], done[6];                           /* stored, and decided, of log l at site s */
byte cnt[12];                                   /* cnt[L(s,l)*N+n]: applied at the service of s */
bit names[3], heard[3];                         /* B has such a series; B has heard of such a store, durably */
bit replaced, blank, doubt, resumed, said;      /* said: B has said on this connection what it knows */
bit calm;
hidden byte i_;
#define MY(s) (s == BB -> 0 : (replaced -> 2 : 1))
#define FREE(s) !(s == A && doubt)
inline apply(s, l) {
  cnt[L(s,l)*N+done[L(s,l)]]++; assert(cnt[L(s,l)*N+done[L(s,l)]] <= 1); done[L(s,l)]++             /* G2 */
}
#ifdef FIX_HEARD                                /* who has heard of an earlier store says so, whatever it has of it */
#define HAS_A_PAST heard[1]
#else
#define HAS_A_PAST names[1]
#endif
#ifdef BUG_RESUMED_BLINDLY
#define IS_EMPTY 1
#else
#define IS_EMPTY blank
#endif
inline new_store() { replaced = 1; said = 0; for (i_ : 0 .. 2) { has[i_] = 0; done[i_] = 0 }; i_ = 0 }
proctype site(byte s) {
  byte l;
end: do
  :: d_step { FREE(s) && !calm && has[L(s,MY(s))] < N && done[L(s,MY(s))] == has[L(s,MY(s))] ->  /* a client writes */
       l = MY(s); has[L(s,l)]++; apply(s, l); l = 0 }
  :: d_step { FREE(s) && done[L(s,0)] < has[L(s,0)] -> apply(s, 0) }      /* it follows */
  :: d_step { FREE(s) && done[L(s,1)] < has[L(s,1)] -> apply(s, 1) }
  :: d_step { FREE(s) && done[L(s,2)] < has[L(s,2)] -> apply(s, 2) }
  od }
#define TO_B(l) \
  :: d_step { names[MY(A)] && has[L(BB,l)] < has[L(A,l)] -> has[L(BB,l)]++; names[l] = 1; heard[l] = 1 }
#define TO_A(l) \
  :: d_step { said && names[MY(A)] && (l != 1 || !replaced || resumed) && has[L(A,l)] < has[L(BB,l)] -> has[L(A,l)]++ }
init {
  atomic { run site(A); run site(BB) };
  do
  :: d_step { !names[MY(A)] -> names[MY(A)] = 1; heard[MY(A)] = 1 }      /* A says its cursors */
  :: d_step { !said -> said = 1;      /* B says its own */
#ifndef BUG_PAST_FOLLOWED
       if :: replaced && !resumed && HAS_A_PAST -> doubt = 1 :: else fi;
#endif
       skip }
  TO_B(1) TO_B(2) TO_A(0) TO_A(1)                /* pages, which come after what was said */
  :: d_step { !calm && !replaced -> new_store() }                                      /* its service kept everything */
  :: d_step { !calm && !replaced -> new_store(); blank = 1; for (i_ : 0 .. 5) { cnt[i_] = 0 }; i_ = 0 } /* or nothing */
  :: d_step { doubt && IS_EMPTY -> doubt = 0; resumed = 1 }      /* a person resumes */
  :: d_step { !calm -> said = 0 }      /* A is killed */
  :: d_step { !calm -> said = 0; for (i_ : 0 .. 2) { names[i_] = (has[L(BB,i_)] > 0) }; i_ = 0 }      /* B is killed */
  :: d_step { !calm -> calm = 1 }
  :: atomic { timeout ->      /* what only the lost disk had is not promised */
       for (i_ : 0 .. 2) {
         assert(doubt || done[L(A,i_)] >= has[L(BB,i_)]);      /* G1, nobody waits */
         assert(done[L(BB,i_)] == has[L(BB,i_)]) };
       for (i_ : 0 .. 5) { assert(doubt || !cnt[6+i_] || cnt[i_]) };                                 /* G5 */
       break }
  od }
