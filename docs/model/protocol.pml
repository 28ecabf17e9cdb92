/* Holdfast's protocol on one page: what a site may do about a write, one rule a line. How to read it: README.md.
 *
 *   row(s,w)   what site s may do about write w: each `guard -> act` is atomic and durable, as one transaction
 *   client(k)  sends the write with key k up to R times, at any site, and leaves when it likes (timeout, lost answer)
 *   env        kill -9 of any site at any step, without limit, until `calm`; at rest it judges G1, G5, "nobody waits"
 *
 * A message is a step that reads its sender's durable state: late, lost (not taken) or repeated, as the run likes.
 * A cut, one-way too, is a stretch of a run without such steps: no rule asks whether a link is up, each one guesses.
 * Only a wish can outlive what its sender did since, so wishes under way are kept (`fly`).                         */
#ifndef NS
#define NS 2                                    /* sites */
#endif
#ifndef NK
#define NK 1                                    /* keys, each with its client */
#endif
#ifndef NW
#define NW 2                                    /* writes accepted at most */
#endif
#ifndef R
#define R 2                                     /* a client sends its key this often at most */
#endif
#ifndef TRIES
#define TRIES 1                                 /* wishes of one write at most */
#endif

/* ---- STATE ---- */
/* A write at its origin (og). ACC: in memory only, unless this replica has begun it. */
#define FREE 0
#define ACC 1
#define WISHED 2
#define REVOKED 3                               /* given up elsewhere, its word is outstanding */
#define SETTLED 4
#define GONE 5                                  /* cancelled, 503: nobody executes it */
/* A write at a replica (here). From AP to CO it is decided: it holds up nothing. */
#define NO 0
#define WAIT 1                                  /* to be sent: own (volatile), stored wish, shadow, order */
#define SEND 2
#define UNK 3                                   /* sent, and no word what became of it */
#define AP 4                                    /* applied */
#define RF 5                                    /* refused by the service */
#define DU 6                                    /* copy of one that is applied here */
#define DX 7                                    /* copy of one of which nobody knows whether it is applied here */
#define SK 8                                    /* skipped */
#define QU 9                                    /* quarantine: may have been applied, or differs; a person decides */
#define CO 10                                   /* quarantine, contrary: applied here, and settled otherwise */
#define LO 11                                   /* discarded here by a person */
#define VO 12                                   /* never sent here, and never will be on this try */
/* Verdicts of an outcome (ver) and of a late decision (dec; there REFU means void). */
#define APPL 1
#define REFU 2
#define UNDEC 3
#define DUPL 4
#define B(w) (1<<(w))
#define X(s,w) ((s)*NW+(w))
#define NONE NW

byte og[NW], org[NW], key[NW];                  /* stage at the origin, origin, key */
byte cur[NW], try[NW];                          /* site asked now, number of wishes */
byte ver[NW], by[NW], ps[NW];                   /* outcome, the site whose `after` counts, position in its series */
byte dec[NW], dby[NW], dps[NW];                 /* late decision, the same */
bit  orp[NW], mute[NW];                         /* its client was lost in a restart; undecided, and not listed so */
byte here[NS*NW], held[NS*NW];                  /* stage at replica s; try of the wish held there */
byte owed[NS*NW], fly[NS*NW];                   /* wish to s not known to be void (its try); tries under way to s */
byte afp[NS*NW], afi[NS*NW], rep[NS*NW];        /* fixed at s: `after` by position, by id; what a copy repeats */
byte mup[NS*NW], mui[NS*NW];                    /* what s must have decided before it decides w, by position, by id */
bit  late[NS*NW];                               /* the service may still be working on it */
byte rec[NS*NS];                                /* rec[s*NS+l]: how much of l's series s has stored (own: its length) */
byte cnt[NS*NK];                                /* THE SERVICE: how often the write with key k was applied at s */
byte sn[NK], cw[NK], cs[NK];                    /* client: sends so far, write waited for +1, at which site */
byte told[NK], toldat[NK], rtold[NS*NK];        /* success told; at which sites; from s's record: 1 yes, 2 refusal */
bit  seq, calm, over;                           /* seq: key 1 was first sent after success of key 0 was told */
byte tb[NS];                                    /* told here and not decided here: binds what is placed from now on */
byte wa[NW];                                    /* wishes decided at its origin when w was first wished */
byte dm[NS], im[NS], am[NS], xm[NS];            /* what follows from the above, see refresh(): decided at s, also for
                                                   who names it by id; on its way there; perhaps applied there */
byte pm[NS], qm[NS], um[NS], lm[NS];            /* its place is known; position stored; no position yet; decided late */
byte sm[NS], om[NS], nm[NS], kk[NK];            /* settled by s, accepted by s, named by id in what s got; of key k */
#ifdef SHORTEST                                 /* breadth first knows no hidden variables */
#define hidden
#endif
hidden byte i_, j_, t_, u_, best, bw, bc;       /* scratch */
#ifdef CAUSE
byte saw[NS*NW];                                /* what the replica had really decided when it sent w */
#endif
#ifdef SEEN
byte seen;                                      /* `Holdfast-Seen` of client 0's answers, which client 1 sends back */
#endif
#ifdef ALL                                      /* replicate = "all": a refusal is executed and followed too */
bit no[NS*NW];                                  /* the service at s said no */
#endif
#ifdef PERSONS
byte ord[NS*NW];                                /* being sent by order of a person; 2: it had never been sent here */
#endif
#ifdef AHEAD
byte ah[NS*NW];                                 /* told of ahead, by site ah-1; above NS: its decision is */
#endif
#ifdef BUG_STALE_ABSENCE
bit parked[NS*NW];                              /* a wish whose question "is it known?" was answered: no */
#endif

/* ---- WHAT IS KNOWN ---- */
#define H here[X(s,w)]
#define OWN (s == org[w] && og[w] >= ACC && og[w] <= REVOKED)
#define POS(s,w) (og[w] == SETTLED && rec[(s)*NS+org[w]] > ps[w])
#define DEC(s,w) (dec[w] && rec[(s)*NS+org[w]] > dps[w])
#define IS(s,w,verdict) (POS(s,w) && ver[w] == verdict)
#define DECIDED(s,w,verdict) (DEC(s,w) && dec[w] == verdict)
#ifdef PERSONS
#define ORD(s,w) ord[X(s,w)]
#define END_ORDER ord[X(s,w)] = 0
#else
#define ORD(s,w) 0
#define END_ORDER skip
#endif
#ifdef AHEAD
#define IS_AHEAD(s,w) (ah[X(s,w)] && (ah[X(s,w)] > NS -> !DEC(s,w) : !POS(s,w)))
#define AFB (IS_AHEAD(s,w) -> (ah[X(s,w)]-1) % NS : (DEC(s,w) -> dby[w] : by[w]))
#define WAS_AHEAD(s,w) ah[X(s,w)]
#else
#define IS_AHEAD(s,w) 0
#define AFB (DEC(s,w) -> dby[w] : by[w])        /* the site whose `after` its followers keep */
#define WAS_AHEAD(s,w) 0
#endif
#define WISH (s != org[w] && held[X(s,w)] && !POS(s,w) && !ORD(s,w) && !IS_AHEAD(s,w))
#define FOLLOWED (IS(s,w,APPL) || (DECIDED(s,w,APPL) && !ORD(s,w)) || IS_AHEAD(s,w))
#ifdef FIX_RELEASED                             /* same key, also of the same log: its origin has released it */
#define COPIES (kk[key[w]] & ~B(w))
#define RELEASED (here[X(s,i_)] == CO || here[X(s,i_)] == QU)
#else
#define COPIES (kk[key[w]] & ~om[org[w]])       /* same key from another log */
#define RELEASED (here[X(s,i_)] == CO)
#endif
#define QUIET ((am[s] & COPIES) == 0)
#define MUST ((mup[X(s,w)] & ~dm[s]) == 0 && (mui[X(s,w)] & ~im[s]) == 0)
#define AFTER(d) ((afp[X(d,w)] & ~dm[s]) == 0 && (afi[X(d,w)] & ~im[s]) == 0)
#if NS == 2
#define OWED (owed[w] || owed[X(1,w)])
#else
#define OWED (owed[w] || owed[X(1,w)] || owed[X(2,w)])
#endif
/* An answer is told by s from what d has recorded of write bw, as this site decided it: */
#define TOLD_AS(d) (DEC(d,bw) -> dby[bw] : (POS(d,bw) && !(held[X(d,bw)] && here[X(d,bw)] == AP) -> by[bw] : (d)))

/* ---- RULES THAT A VARIANT DROPS: each BUG_ is refuted, and says so what its rule is for ---- */
#ifdef BUG_SETTLE_UNSTORED
#define STORED(d) 1
#else                                           /* mirror/pending.rs: the origin has what the outcome comes after */
#define STORED(d) ((afp[X(d,w)] & ~qm[s]) == 0 && (afi[X(d,w)] & ~pm[s]) == 0)
#endif
#ifdef BUG_DECIDES_NAMED
#define UNNAMED 1
#else                                           /* decisions/2026-11-21-no-local-decision-over-a-known-outcome.md */
#define UNNAMED !(OWED && ((nm[s] & B(w)) || (um[s] & ~wa[w])))
#endif
#ifdef BUG_TOLD_IS_FREE
#define TOLD_HERE(which) 0
#else                                           /* service/told.rs: a told answer binds as a decided one */
#define TOLD_HERE(which) (tb[o] & (which))
#endif
#ifdef BUG_TOLD_UNSTORED
#define MAY_TELL(d) 1
#else                                           /* the same: its entry is stored here, and all that it comes after */
#define MAY_TELL(d) ((POS(s,bw) || (here[X(s,bw)] != NO && here[X(s,bw)] != VO)) \
  && (afp[X(TOLD_AS(d),bw)] & ~qm[s]) == 0 && (afi[X(TOLD_AS(d),bw)] & ~pm[s]) == 0)
#endif
#ifdef BUG_ORIGIN_WINS
#define OURS(s,w) 0
#else                                           /* Row::told: what this replica recorded itself stays its answer */
#define OURS(s,w) ((held[X(s,w)] && (u_ == AP || u_ == RF || u_ == DU || u_ == CO)) \
  || (WAS_AHEAD(s,w) && (u_ == AP || u_ == SK || u_ == CO)))
#endif
#ifdef BUG_DECIDER_DOES_NOT_WAIT
#define OWN_TURN 1
#else
#define OWN_TURN (MUST && UNNAMED)
#endif
#ifndef BUG_SENDING_VOLATILE
#define SENT_AFTER_CRASH UNK                    /* `sending` was durable before the first byte */
#else
#define SENT_AFTER_CRASH NO
#endif
#ifdef BUG_CHECK_THEN_RECORD                    /* looks, sends, then records; no reservation */
#define RESERVED if :: best == 2 -> best = 9 :: else fi
#else
#define RESERVED skip
#endif
#if defined(ALL) && !defined(BUG_NO_COMPARE)
#define DIFFERS (no[X(s,w)] != no[X(AFB,w)])
#else
#define DIFFERS 0
#endif
#ifdef ALL
#define SAYS_NO no[X(s,w)]
#define SAYS_AS(first) no[X(s,w)] = no[X(s,first)]
#ifdef FIX_ALL                                  /* what was answered otherwise here is a divergence; success wins */
#define COPY_DIFFERS (no[X(s,bw)] != no[X(AFB,w)])
#define TOLD_NO (IS(s,j_,APPL) || IS(s,j_,DUPL) -> no[X(by[j_],j_)] && !(OURS(s,j_) && !no[X(s,j_)]) :\
  (DECIDED(s,j_,APPL) -> no[X(dby[j_],j_)] : no[X(s,j_)]))
#define NAY 1
#else
#define COPY_DIFFERS 0
#define TOLD_NO (IS(s,j_,APPL) || IS(s,j_,DUPL) -> no[X(by[j_],j_)] :\
  (DECIDED(s,j_,APPL) -> no[X(dby[j_],j_)] : no[X(s,j_)]))
#define NAY 7
#endif
#else
#define SAYS_NO 0
#define SAYS_AS(first) skip
#define COPY_DIFFERS 0
#endif
#ifdef BUG_CONTRARY_FORGOTTEN                   /* `applied` is recorded at that replica, and listed nowhere */
#define CONTRARY AP
#else                                           /* decisions/2026-11-28-what-a-person-says-elsewhere.md */
#define CONTRARY CO
#endif
#ifdef FIX_APPLIED                              /* after what it came after when it was sent, as where a probe tells */
#define COMES_AFTER skip
#define SENT_AFTER skip
#else                                           /* service/operator.rs, applied_here(): nothing; finish_ordered(): */
#define COMES_AFTER afp[X(s,w)] = 0; afi[X(s,w)] = 0
#define SENT_AFTER refresh(s); without_gaps(s, w)
#endif
#ifdef BUG_ORDER_FORGETS_ENTRY
#define CUT_SHORT SK
#else                                           /* decisions/2026-11-22-an-order-holds-its-entry.md */
#define CUT_SHORT QU
#endif
/* ---- QUESTIONS ---- */
#ifdef AFTER_TOLD                               /* only runs in which client 1 waits for client 0's success */
#define FIRST (k == 0 || told[0])
#else
#define FIRST 1
#endif
#ifdef ANYWHERE                                 /* order even where key 1 is sent at another site */
#define TOLD_BEFORE(s) told[0]
#else
#define TOLD_BEFORE(s) (toldat[0] & B(s))
#endif
#if NK > 1
#define SEQ(s) (k == 1 && sn[1] == 1 && TOLD_BEFORE(s))
#else
#define SEQ(s) 0
#endif
#ifdef SEEN
#define SEES (key[w] == 1 -> seen : 0)
#define HAS_SEEN if :: k == 0 -> seen = seen | B(bw) :: else fi
#else
#define SEES 0
#define HAS_SEEN skip
#endif
#ifdef PERSONS                                  /* a key whose write a person has discarded at s may be sent anew */
#define LEFT_OUT(s) ((here[X(s,0)] == LO && key[0] == k) || (here[X(s,NW-1)] == LO && key[NW-1] == k) \
  || (here[X(s,NW/2)] == LO && key[NW/2] == k))
#else
#define LEFT_OUT(s) 0
#endif
#ifdef ALONE                                    /* G8: what the next write of s comes after, s can decide by itself */
hidden byte a_, b_, c_, n_;
#define ALONE_AT(s) alone(s)
#define AFB_OF(c) (DEC(s,c) -> dby[c] : by[c])
#else
#define ALONE_AT(s) skip
#endif
inline alone(s) {
#ifdef ALONE
  a_ = dm[s]; b_ = im[s];
  for (n_ : 1 .. NW) { for (c_ : 0 .. NW-1) {
    if :: (b_ & B(c_)) == 0 && (here[X(s,c_)] == SEND || here[X(s,c_)] == UNK || (here[X(s,c_)] == WAIT &&
            (((IS(s,c_,APPL) || DECIDED(s,c_,APPL)) &&
               (afp[X(AFB_OF(c_),c_)] & ~a_) == 0 && (afi[X(AFB_OF(c_),c_)] & ~b_) == 0) ||
             (IS(s,c_,DUPL) && (rep[X(by[c_],c_)] == NONE || (b_ & B(rep[X(by[c_],c_)]))))))) ->
          a_ = a_ | B(c_); b_ = b_ | B(c_)
       :: else fi }};
  assert(((sm[s] | tb[s]) & ~a_) == 0);                                                             /* G8 */
  a_ = 0; b_ = 0
#else
  skip
#endif
}

/* ---- ACTS ---- */
inline refresh(s) {
  dm[s] = 0; im[s] = 0; am[s] = 0; xm[s] = 0; pm[s] = 0; qm[s] = 0; um[s] = 0; lm[s] = 0;
  for (i_ : 0 .. NW-1) {
    t_ = here[X(s,i_)]; u_ = (og[i_] == SETTLED && ver[i_] == UNDEC && !DEC(s,i_));         /* awaits its decision */
    if :: POS(s,i_) -> qm[s] = qm[s] | B(i_) :: else fi;
    if :: (t_ >= AP && t_ <= CO) || (t_ == LO && POS(s,i_)) -> dm[s] = dm[s] | B(i_);
          if :: (t_ == SK || t_ == QU) && u_ :: else -> im[s] = im[s] | B(i_) fi
       :: t_ == SEND || t_ == UNK -> am[s] = am[s] | B(i_)
       :: t_ == WAIT && !ORD(s,i_) && IS(s,i_,UNDEC) && DECIDED(s,i_,APPL) -> dm[s] = dm[s] | B(i_)    /* was skipped */
       :: else fi;
    if :: t_ == AP || t_ == QU || t_ == CO -> xm[s] = xm[s] | B(i_) :: else fi;
    if :: (POS(s,i_) && !u_) || (im[s] & B(i_)) -> pm[s] = pm[s] | B(i_) :: else fi;
    if :: t_ == AP && s != org[i_] && (!POS(s,i_) || u_) -> um[s] = um[s] | B(i_) :: else fi;
    if :: DECIDED(s,i_,APPL) && ((im[s] & B(i_)) || s == org[i_]) -> lm[s] = lm[s] | B(i_) :: else fi
  };
  tb[s] = tb[s] & ~im[s]; t_ = 0; u_ = 0; ALONE_AT(s)
}
inline fix_after(s, w) {  /* what is decided here; by id what has no place yet, or a later one than its position */
  afi[X(s,w)] = (um[s] | (lm[s] & im[s])) & ~B(w);
  afp[X(s,w)] = dm[s] & qm[s] & ~afi[X(s,w)] & ~B(w)
}
inline without_gaps(s, w) {     /* what is decided here before the first open position of each series */
  afp[X(s,w)] = 0; afi[X(s,w)] = 0;
  for (i_ : 0 .. NW-1) {
    u_ = (i_ != w && (dm[s] & qm[s] & B(i_)));
    for (j_ : 0 .. NW-1) {
      if :: u_ && org[j_] == org[i_] && ((POS(s,j_) && (dm[s] & B(j_)) == 0 && ps[j_] < ps[i_]) ||
              (DEC(s,j_) && (im[s] & B(j_)) == 0 && dps[j_] < ps[i_])) -> u_ = 0 :: else fi };
    if :: u_ && (lm[s] & im[s] & B(i_)) -> afi[X(s,w)] = afi[X(s,w)] | B(i_)
       :: u_ && !(lm[s] & im[s] & B(i_)) -> afp[X(s,w)] = afp[X(s,w)] | B(i_)
       :: else fi
  }; u_ = 0
}
inline fix_must(o, d, w) {      /* what clients of o were told, or can have read there: d decides w after it */
  mup[X(d,w)] = (dm[o] & qm[o]) | sm[o] | TOLD_HERE(qm[o] & ~dm[o]);
  mui[X(d,w)] = um[o] | lm[o] | TOLD_HERE(~(qm[o] & ~dm[o])) | SEES
}
inline ended(w) { for (i_ : 0 .. NS-1) { owed[X(i_,w)] = 0 }; cur[w] = 0; try[w] = 0; wa[w] = 0; orp[w] = 0 }
inline gone(s, w) { og[w] = GONE; here[X(s,w)] = VO; mup[X(s,w)] = 0; mui[X(s,w)] = 0; ended(w) }
inline settle(w, v, b) {                        /* outcome and position in one transaction */
  ver[w] = v; by[w] = b; og[w] = SETTLED; sm[org[w]] = sm[org[w]] | B(w);
  ps[w] = rec[org[w]*NS+org[w]]; rec[org[w]*NS+org[w]]++; ended(w)
}
inline decide(w, v, b) { dec[w] = v; dby[w] = b; dps[w] = rec[org[w]*NS+org[w]]; rec[org[w]*NS+org[w]]++ }
inline applies(s, w) {                          /* the service changes its state */
  cnt[s*NK+key[w]]++; late[X(s,w)] = 0;
  assert(cnt[s*NK+key[w]] <= 1);                                                                   /* G2 */
#if NK > 1
  assert(!(seq && key[w] == 0 && cnt[s*NK+1] && !(og[w] == SETTLED && ver[w] == UNDEC) && !ORD(s,w)        /* G3 */
    && !(ver[NW-1] == UNDEC && key[NW-1] == 1)))
#endif
}
inline ok(s, w) {                               /* a complete 2xx/3xx, or the probe found it */
  if :: OWN -> H = AP; settle(w, APPL, s)
     :: s == org[w] && og[w] == SETTLED && ORD(s,w) -> H = AP; END_ORDER;
        if :: !dec[w] -> refresh(s); without_gaps(s, w); decide(w, APPL, s) :: else fi
     :: else -> if :: IS(s,w,REFU) || DECIDED(s,w,REFU) -> H = CO                                         /* contrary */
                   :: else -> H = (FOLLOWED && DIFFERS -> QU : AP) fi;                                  /* divergence */
        if :: ORD(s,w) && H == AP && !IS(s,w,APPL) -> SENT_AFTER :: else fi; END_ORDER
  fi; refresh(s)
}
inline ref(s, w) {                              /* a refusal */
  if :: OWN -> H = RF; settle(w, REFU, s)
     :: else -> H = (FOLLOWED || ORD(s,w) -> QU : RF); END_ORDER fi; late[X(s,w)] = 0; refresh(s)
}
inline unsent(s, w) {                           /* proof that the service never got it */
  H = (OWN || WISH -> VO : (FOLLOWED -> WAIT : (ORD(s,w) -> QU : SK))); late[X(s,w)] = 0;
  if :: H == QU -> END_ORDER :: else fi; refresh(s)
}
inline begin(s, w) {            /* duplicates once more, then `sending` and `after`, durable before the first byte */
#ifdef CAUSE                                    /* a shadow comes after all that its decider's replica had */
  if :: FOLLOWED -> assert((saw[X(AFB,w)] & ~dm[s]) == 0) :: else fi;                               /* G3 */
#endif
  fix_after(s, w);
#ifdef CAUSE
  saw[X(s,w)] = afp[X(s,w)] | afi[X(s,w)];
#endif
#ifdef BUG_AFTER_AT_ACCEPT
  if :: OWN -> afp[X(s,w)] = mup[X(s,w)]; afi[X(s,w)] = 0 :: else fi;
#endif
  bw = NONE; u_ = 0;                            /* 1 a copy of what has an answer, 2 of what nobody knows */
  for (i_ : 0 .. NW-1) {
    if :: i_ != w && u_ != 1 && (xm[s] & kk[key[w]] & B(i_)) && (org[i_] != org[w] || RELEASED) ->
          u_ = (here[X(s,i_)] != QU || IS(s,i_,APPL) -> 1 : 2); bw = i_
       :: else fi };
  if :: u_ == 0 -> H = SEND; late[X(s,w)] = 1
     :: u_ == 1 && FOLLOWED && COPY_DIFFERS -> H = QU
     :: else -> H = ((u_ == 2 && (OWN || WISH)) || (ORD(s,w) && s != org[w] && !POS(s,w)) -> DX : DU); SAYS_AS(bw);
        rep[X(s,w)] = (here[X(s,bw)] == CO -> NONE : bw);
        if :: OWN && u_ == 1 -> settle(w, DUPL, s)
           :: OWN && u_ == 2 -> mute[w] = 1; settle(w, UNDEC, s)
           :: s == org[w] && og[w] == SETTLED && ORD(s,w) && !dec[w] -> decide(w, REFU, s)
           :: else fi;
        END_ORDER
  fi; bw = 0; u_ = 0; mup[X(s,w)] = 0; mui[X(s,w)] = 0; refresh(s)
}
inline look(s, k) {       /* what s knows of the key: 0 success, 1 refusal, 2 in flight, 3 unknown, 9 nothing */
  best = 9; bw = 0; bc = 0;
  for (j_ : 0 .. NW-1) {
    t_ = 9; u_ = here[X(s,j_)];
    if :: og[j_] == FREE || og[j_] == GONE || key[j_] != k
       :: else -> if
          :: u_ == LO -> t_ = (DECIDED(s,j_,APPL) -> 0 : 9)
          :: u_ != LO && POS(s,j_) -> if
             :: ver[j_] == APPL || ver[j_] == DUPL || DECIDED(s,j_,APPL) || IS_AHEAD(s,j_) ||
                  (OURS(s,j_) && u_ != RF) -> t_ = 0
             :: else -> t_ = (ver[j_] == REFU || OURS(s,j_) -> 1 : 3) fi
          :: else -> if
             :: s == org[j_] -> t_ = (u_ == UNK -> 3 : 2)
             :: s != org[j_] && IS_AHEAD(s,j_) -> t_ = 0
             :: s != org[j_] && !IS_AHEAD(s,j_) && held[X(s,j_)] -> t_ = (u_ == WAIT || u_ == SEND -> 2 :
                  (u_ == AP || u_ == DU -> 0 : (u_ == RF -> 1 : (u_ == VO -> 9 : 3))))
             :: else fi fi fi;
#ifdef ALL                                      /* a followed refusal counts as a success does; then the lower log */
    if :: t_ == 0 && TOLD_NO -> t_ = NAY :: else fi;
    if :: (t_ == 7 -> 0 : t_) < best || (best == 0 && (t_ == 0 || t_ == 7) && org[j_] < org[bw]) ->
          best = (t_ == 7 -> 0 : t_); bc = (t_ == 7); bw = j_ :: else fi
#else
    if :: t_ < best -> best = t_; bw = j_ :: else fi
#endif
  }; t_ = 0; u_ = 0
}
inline tell(s, k, d) {                          /* the answer that d has recorded reaches the client of s */
  if :: best == 0 && bc -> if :: s == d && rtold[s*NK+k] == 0 -> rtold[s*NK+k] = 2 :: else fi
     :: best == 0 && !bc && (org[bw] == s || ((im[s] | tb[s]) & B(bw)) || MAY_TELL(d)) ->
        told[k] = 1; toldat[k] = toldat[k] | B(s); HAS_SEEN;
        if :: s == d -> rtold[s*NK+k] = 1 :: else fi;
        if :: org[bw] != s && !(im[s] & B(bw)) -> tb[s] = tb[s] | B(bw); ALONE_AT(s) :: else fi
     :: best == 1 && s == d && rtold[s*NK+k] == 0 -> rtold[s*NK+k] = 2
     :: else fi; cw[k] = 0; cs[k] = 0
}
inline accept(s, k) {
  for (i_ : 0 .. NW-1) {
    if :: og[i_] == FREE -> og[i_] = ACC; org[i_] = s; key[i_] = k; kk[k] = kk[k] | B(i_); om[s] = om[s] | B(i_);
          cw[k] = i_+1; cs[k] = s; break
       :: else fi }
}

/* ---- CLIENTS ---- */
/* A client sends (again) to site s; `asks`: a hint makes s ask another site first. */
#define SENDS(s, d, asks) \
  :: d_step { cw[k] == 0 && sn[k] < R && !calm && FIRST -> sn[k]++;                                                  \
       if :: SEQ(s) -> seq = 1 :: else fi;                                                                          \
       look(s, k); RESERVED;                                                                                        \
       assert(rtold[(s)*NK+k] == 0 || (best == 0 && !bc) || (best <= 1 && rtold[(s)*NK+k] == 2)                      \
         || LEFT_OUT(s));                                                                                  /* G4 */ \
       if :: best == 9 && asks -> look(d, k); if :: best < 2 -> tell(s, k, d) :: else fi                            \
          :: best < 2 -> tell(s, k, s)                                                                              \
          :: best == 2 -> cw[k] = bw+1; cs[k] = s                                                                   \
          :: else fi;                                                                                               \
       if :: best == 9 && og[NW-1] == FREE -> accept(s, k) :: else fi; best = 0; bw = 0; bc = 0 }
#define ANSWERED(s) \
  :: d_step { cw[k] && cs[k] == s && (POS(s, cw[k]-1) || (s != org[cw[k]-1] && here[X(s,cw[k]-1)] >= AP)) ->        \
       look(s, k); tell(s, k, s); best = 0; bw = 0; bc = 0 }
proctype client(byte k) {
end: do
  SENDS(0, 1, 0) SENDS(1, 0, 0) ANSWERED(0) ANSWERED(1)
#ifndef NO_ASK
  SENDS(0, 1, 1) SENDS(1, 0, 1)
#endif
#if NS > 2
  SENDS(2, 0, 0) SENDS(2, 0, 1) ANSWERED(2)
#endif
  :: d_step { cw[k] -> cw[k] = 0; cs[k] = 0 }     /* it leaves: timeout, lost answer; its write goes on */
  od }

/* ---- PERSONS ---- An entry is QU, or a write that its origin settled as undecided and never sent. Who gives an order
 * has looked at the service of that site, after the fence, and tells the truth about it; of other sites he may know
 * nothing. */
#define HAS_IT cnt[s*NK+key[w]]
#if NS == 2
#define SOMEBODY_HAS_IT (cnt[key[w]] || cnt[NK+key[w]])
#else
#define SOMEBODY_HAS_IT (cnt[key[w]] || cnt[NK+key[w]] || cnt[2*NK+key[w]])
#endif
/* What is decided not to be applied anywhere is not sent here. */
#define SENDABLE (!POS(s,w) || ver[w] == APPL || (ver[w] == UNDEC && !DECIDED(s,w,REFU)))
#define UNTOLD (s == org[w] && og[w] == SETTLED && ver[w] == UNDEC && H == SK && !dec[w] && !mute[w])
#define ORDERS \
  :: d_step { (H == QU && HAS_IT) || (UNTOLD && SOMEBODY_HAS_IT) -> by_order_applied(s, w); refresh(s) }              \
  :: d_step { (H == QU || UNTOLD) && !HAS_IT && SENDABLE -> ord[X(s,w)] = (H == SK -> 2 : 1); H = WAIT; refresh(s) }  \
  :: d_step { (H == QU || UNTOLD) && !HAS_IT -> by_order_discarded(s, w); refresh(s) }                                \
  :: d_step { ORD(s,w) && H == WAIT && !IS(s,w,APPL) && QUIET -> begin(s, w) }
inline by_order_applied(s, w) {
  if :: s == org[w] -> H = (H == QU -> AP : WAIT);
        if :: !dec[w] -> refresh(s); without_gaps(s, w); decide(w, APPL, s) :: else fi
     :: else -> if
        :: IS(s,w,REFU) || DECIDED(s,w,REFU) -> H = CONTRARY
        :: else -> H = AP; if :: IS(s,w,APPL) || IS(s,w,DUPL) || DECIDED(s,w,APPL) :: else -> COMES_AFTER fi fi fi
}
inline send_copies(s, w) {                      /* those that stood back for it are sent after all */
#ifndef BUG_COPIES_FORGOTTEN
  for (j_ : 0 .. NW-1) {
    if :: (here[X(s,j_)] == DU || here[X(s,j_)] == DX) && rep[X(s,j_)] == w && j_ != w && !IS(s,j_,DUPL) &&
          !DECIDED(s,j_,REFU) && !(here[X(s,j_)] == DU && s != org[j_] && !POS(s,j_)) ->
          here[X(s,j_)] = WAIT; ord[X(s,j_)] = 1
       :: else fi };
#endif
  skip
}
inline by_order_discarded(s, w) {
  H = (H == QU -> LO : SK);
  if :: s == org[w] && !dec[w] -> decide(w, REFU, s) :: else fi;
  send_copies(s, w)
}
/* ---- SITES ---- */
#define UNSENT (H == NO || H == VO || H == WAIT)
#define OUT (og[w] == WISHED || og[w] == REVOKED)
#define LATE (s == org[w] && og[w] == SETTLED && ver[w] == UNDEC && !dec[w] && !ORD(s,w))
#define UNKNOWN_AT(d) (here[X(d,w)] == UNK || (here[X(d,w)] >= QU && here[X(d,w)] <= LO) || ORD(d,w))
/* What the origin s learns from, and asks of, site d. */
#define ASK(d) \
  :: d_step { OWN && (og[w] == ACC || og[w] == REVOKED) && (H == NO || H == VO) && try[w] < TRIES && !orp[w]         \
         && UNNAMED -> fix_must(s, d, w); if :: try[w] == 0 -> wa[w] = um[s] :: else fi;                             \
       try[w]++; cur[w] = d; og[w] = WISHED; owed[X(d,w)] = try[w]; fly[X(d,w)] = fly[X(d,w)] | B(try[w]) }          \
  :: d_step { OWN && OUT && UNSENT && held[X(d,w)] && here[X(d,w)] == AP && STORED(d) ->                             \
       settle(w, APPL, d); H = WAIT; refresh(s) }                                                                   \
  :: d_step { OWN && OUT && UNSENT && here[X(d,w)] == DU && STORED(d)                                               \
         && (rep[X(d,w)] == NONE || (pm[s] & B(rep[X(d,w)]))) -> settle(w, DUPL, d); H = WAIT; refresh(s) }          \
  :: d_step { OWN && OUT && UNSENT && here[X(d,w)] == DX && STORED(d) ->                                            \
       mute[w] = 1; settle(w, UNDEC, s); H = SK; refresh(s) }                                                        \
  :: d_step { OWN && OUT && UNSENT && here[X(d,w)] == RF && STORED(d) -> settle(w, REFU, d); H = SK; refresh(s) }    \
  :: d_step { OWN && OUT && owed[X(d,w)] && here[X(d,w)] == VO && held[X(d,w)] >= owed[X(d,w)] ->                   \
       owed[X(d,w)] = 0; if :: og[w] == REVOKED || cur[w] == d -> og[w] = (OWED -> REVOKED : ACC) :: else fi }      \
  :: d_step { LATE && here[X(d,w)] == AP && STORED(d) ->                                                            \
       decide(w, APPL, d); if :: H == SK -> H = WAIT :: else fi; refresh(s) }                                        \
  :: d_step { LATE && H == SK && (here[X(d,w)] == RF || (here[X(d,w)] == DU && rep[X(d,w)] != NONE)) ->              \
       decide(w, REFU, d); refresh(s) }
#define IS_TOLD_AHEAD_BY(d) \
  :: d_step { s != org[w] && (d) != org[w] && (d) != s && (um[d] & B(w)) && !DEC(s,w)                                \
         && ((!POS(s,w) && !POS(d,w) && (H == NO || H == VO)) || (IS(s,w,UNDEC) && H == SK && POS(d,w))) ->          \
       ah[X(s,w)] = (d)+1 + (POS(s,w) -> NS : 0); H = WAIT; refresh(s) }
proctype row(byte s, w) {
end: do
  /* THE ORIGIN: decide here or ask elsewhere, give up there, take the word, or none */
  :: d_step { OWN && (og[w] == ACC || og[w] == REVOKED) && H == NO && !orp[w] -> H = WAIT; fix_must(s, s, w) }
#if NS == 2
  ASK((1-s))
#else
  ASK(((s+1)%3)) ASK(((s+2)%3))
#endif
#ifndef PATIENT                                 /* else nobody is silent for long: no wish is given up */
  :: d_step { OWN && og[w] == WISHED -> og[w] = REVOKED }                                /* silence: given up there */
  :: d_step { WISH && H == WAIT -> H = VO }                                              /* its origin is silent */
#endif
  :: d_step { OWN && og[w] == ACC && UNSENT -> gone(s, w) }                               /* 503 */
  :: d_step { OWN && UNSENT && (og[w] == REVOKED || (og[w] == WISHED && UNKNOWN_AT(cur[w]))) ->
       H = SK; settle(w, UNDEC, s); refresh(s) }                                         /* its lane waits no longer */
  /* THE ASKED SITE: store the wish, or say not-here; void by revocation, silence, restart (env) */
#ifdef BUG_STALE_ABSENCE
  :: d_step { s != org[w] && fly[X(s,w)] && !POS(s,w) && H == NO && !parked[X(s,w)] -> parked[X(s,w)] = 1 }
  :: d_step { parked[X(s,w)] && !POS(s,w) && (H == NO || H == VO) -> parked[X(s,w)] = 0; H = WAIT; held[X(s,w)] = 1 }
#else
  :: d_step { s != org[w] && !POS(s,w) && (fly[X(s,w)] >> (held[X(s,w)]+1)) && (H == NO || H == VO) ->
       held[X(s,w)]++; H = WAIT }
  :: d_step { s != org[w] && !POS(s,w) && (fly[X(s,w)] >> (held[X(s,w)]+1)) && (H == NO || H == VO) ->
       held[X(s,w)]++; H = VO }                                                          /* not-here */
#endif
  :: d_step { s != org[w] && held[X(s,w)] && !POS(s,w) && (fly[X(s,w)] >> (held[X(s,w)]+1)) && H != NO && H != VO ->
       held[X(s,w)]++ }
  :: d_step { fly[X(s,w)] && !(og[w] == WISHED && cur[w] == s) -> fly[X(s,w)] = 0 }       /* it never arrives */
  :: d_step { s != org[w] && owed[X(s,w)] && !(og[w] == WISHED && cur[w] == s) && !POS(s,w) && !IS_AHEAD(s,w) &&
         (H == NO || (H == WAIT && !ORD(s,w)) || (H == VO && held[X(s,w)] < owed[X(s,w)])) ->
       held[X(s,w)] = owed[X(s,w)];
#ifdef BUG_REVOKED_APPLIED
       if :: H == WAIT -> owed[X(s,w)] = 0; og[w] = ACC :: else -> H = VO fi              /* says void, and keeps it */
#else
       H = VO
#endif
       }
  /* ANY REPLICA: send when its turn has come */
  :: d_step { OWN && H == WAIT && OWN_TURN && QUIET -> begin(s, w) }
  :: d_step { WISH && H == WAIT && MUST && QUIET -> begin(s, w) }
  :: d_step { FOLLOWED && H == WAIT && AFTER(AFB) && QUIET -> begin(s, w) }
  :: d_step { IS(s,w,DUPL) && H == WAIT && (rep[X(by[w],w)] == NONE || (im[s] & B(rep[X(by[w],w)]))) ->
       H = SK; refresh(s) }
  /* what comes of an attempt */
  :: d_step { H == SEND && late[X(s,w)] -> applies(s, w); ok(s, w) }
#ifdef ALL
#ifdef BUG_SUCCESS_ONLY                         /* refusals are not followed, though the service numbers them */
  :: d_step { H == SEND && late[X(s,w)] -> applies(s, w); ref(s, w) }
#else
  :: d_step { H == SEND && late[X(s,w)] -> applies(s, w); no[X(s,w)] = 1; ok(s, w) }
#endif
  :: d_step { H == UNK && late[X(s,w)] -> applies(s, w); no[X(s,w)] = 1 }
#endif
#ifdef REFUSALS
  :: d_step { H == SEND && !calm -> ref(s, w) }
#endif
  :: d_step { H == SEND && !calm -> unsent(s, w) }
  :: d_step { H == SEND && !calm -> H = UNK }                                            /* still at work, or not */
#ifdef BUG_ANSWER_FIRST
  :: d_step { H == SEND && OWN && cw[key[w]] == w+1 && cs[key[w]] == s && !calm ->
       applies(s, w); told[key[w]] = 1; rtold[s*NK+key[w]] = 1; cw[key[w]] = 0; cs[key[w]] = 0; H = UNK }
#endif
  :: d_step { H == UNK && late[X(s,w)] -> applies(s, w) }
  :: d_step { H == UNK && late[X(s,w)] -> late[X(s,w)] = 0 }                /* it never had it, and the fence is over */
  :: d_step { H == UNK && !late[X(s,w)] && cnt[s*NK+key[w]] && !SAYS_NO -> ok(s, w) }           /* the probe finds it */
#ifdef BUG_NO_FENCE                             /* the probe is believed while the service may still be at it */
  :: d_step { H == UNK && late[X(s,w)] && !cnt[s*NK+key[w]] -> cnt[s*NK+key[w]]++; ok(s, w) }
  :: d_step { H == AP && late[X(s,w)] -> applies(s, w) }
#endif
#ifdef BUG_RESEND
  :: d_step { H == UNK -> late[X(s,w)] = 1; H = SEND }
#endif
  :: d_step { H == UNK && !late[X(s,w)] && !cnt[s*NK+key[w]] ->               /* 404 after the fence: once more */
       if :: OWN || WISH || FOLLOWED || (ORD(s,w) && s != org[w] && !POS(s,w)) -> late[X(s,w)] = 1; H = SEND
          :: else -> H = (ORD(s,w) -> QU : SK); END_ORDER fi; refresh(s) }
  :: d_step { H == UNK && !late[X(s,w)] -> H = QU; if :: OWN -> settle(w, UNDEC, s) :: else fi; END_ORDER; refresh(s) }
  /* SHIPPING: the next item of w's series is w, or the late decision about w; stored in order */
  :: d_step { s != org[w] && og[w] == SETTLED && rec[s*NS+org[w]] == ps[w] -> rec[s*NS+org[w]]++;
       nm[s] = nm[s] | afi[X(by[w],w)];
#ifdef FIX_OVERTAKEN                            /* an order ends unsent where its origin settled it otherwise */
       if :: H == WAIT && ORD(s,w) && (ver[w] == REFU || ver[w] == DUPL) -> send_copies(s, w) :: else fi;
#endif
       if :: H == NO || H == VO || (H == WAIT && !(ORD(s,w) && ver[w] == UNDEC)) -> END_ORDER;         /* overtaken */
             H = (ver[w] == APPL || ver[w] == DUPL -> WAIT : SK)
#ifdef BUG_AHEAD_FORGOTTEN                      /* the position of what was applied ahead is taken for a new write */
          :: H == AP && WAS_AHEAD(s,w) && ver[w] == APPL -> H = WAIT
#endif
          :: H == RF && ver[w] == APPL -> H = QU                                          /* refused here as a wish */
          :: H == AP && ver[w] == REFU -> H = CO
#ifdef FIX_ALL
          :: (H == AP || H == DU) && ver[w] == APPL && no[X(s,w)] != no[X(by[w],w)] -> H = CO
#endif
          :: else fi; refresh(s) }
  :: d_step { s != org[w] && dec[w] && rec[s*NS+org[w]] == dps[w] -> rec[s*NS+org[w]]++;
       nm[s] = nm[s] | afi[X(dby[w],w)];
       if :: dec[w] == APPL && (H == SK || H == RF || H == LO) -> H = WAIT
          :: dec[w] == REFU && H == AP -> H = CO
          :: dec[w] == REFU && H == WAIT && !ORD(s,w) -> H = SK                           /* it was told of ahead */
#ifdef BUG_OWN_NUMBER                           /* a decision is not recognised by the write that it decides */
          :: dec[w] == APPL && H == AP -> H = WAIT
#endif
          :: else fi; refresh(s) }
#ifdef AHEAD                                    /* d, which has decided it, tells ahead of its position or decision */
  IS_TOLD_AHEAD_BY(((s+1)%NS)) IS_TOLD_AHEAD_BY(((s+2)%NS))
#endif
#ifdef PERSONS
  ORDERS
#endif
  od }
inline crash(s) {                               /* what is not durable is gone; recovery is the normal start */
  for (j_ : 0 .. NW-1) {
    t_ = here[X(s,j_)];
    if :: og[j_] == FREE || og[j_] == GONE
       :: else -> if
          :: t_ == SEND -> here[X(s,j_)] = SENT_AFTER_CRASH
          :: t_ == WAIT && ORD(s,j_) -> here[X(s,j_)] = (ORD(s,j_) == 2 -> SK : CUT_SHORT)
          :: t_ == WAIT && !ORD(s,j_) && s != org[j_] && !POS(s,j_) && !IS_AHEAD(s,j_) -> here[X(s,j_)] = VO
          :: t_ == WAIT && s == org[j_] && og[j_] != SETTLED ->                     /* above: a stored wish is void */
             here[X(s,j_)] = NO; mup[X(s,j_)] = 0; mui[X(s,j_)] = 0
          :: else fi;
#ifdef PERSONS
          if :: t_ == WAIT || s != org[j_] -> ord[X(s,j_)] = 0 :: else fi;
#endif
          if :: s == org[j_] && og[j_] == WISHED -> og[j_] = REVOKED; orp[j_] = 1
             :: s == org[j_] && og[j_] == REVOKED && t_ != SEND && t_ != UNK -> orp[j_] = 1
             :: s == org[j_] && og[j_] == ACC && t_ != SEND && t_ != UNK ->
                gone(s, j_)
             :: else fi fi
  };
  for (j_ : 0 .. NK-1) { if :: cw[j_] && cs[j_] == s -> cw[j_] = 0; cs[j_] = 0 :: else fi };
  t_ = 0; refresh(s)
}
/* At rest a key is excused where a write of it stands in quarantine, or where a person left it out at one replica. */
#ifdef PERSONS                                  /* persons have decided all but what is contrary */
#define LISTED(s,w) (here[X(s,w)] == CO || (here[X(s,w)] == LO && (ver[w] == APPL || dec[w] == APPL)))
#define OPEN(w) 0
#else
#define LISTED(s,w) (here[X(s,w)] == QU || here[X(s,w)] == CO)
#define OPEN(w) (og[w] == SETTLED && ver[w] == UNDEC && !dec[w])
#endif
inline rest() {                                 /* nothing more can happen */
  for (i_ : 0 .. NW-1) {
    assert(og[i_] == FREE || og[i_] == SETTLED || og[i_] == GONE);                                  /* nobody waits */
    for (j_ : 0 .. NS-1) { assert(here[X(j_,i_)] == NO || here[X(j_,i_)] >= AP) }
  };
  for (t_ : 0 .. NK-1) {
    best = 0;                                   /* 1: excused */
    for (i_ : 0 .. NW-1) { if :: og[i_] != FREE && key[i_] == t_ ->
        if :: OPEN(i_) -> best = 1 :: else fi;
        for (j_ : 0 .. NS-1) { if :: LISTED(j_,i_) -> best = 1 :: else fi } :: else fi };
    for (j_ : 0 .. NS-1) {
      assert(best || !told[t_] || cnt[j_*NK+t_]);                                                   /* G1 */
      assert(best || cnt[j_*NK+t_] == cnt[t_]);                                                     /* G5 */
#ifdef ALL
      bw = 0; bc = 0;                           /* said yes at j_, said yes at the first site */
      for (i_ : 0 .. NW-1) { if :: og[i_] != FREE && key[i_] == t_ ->
          bw = bw | (here[X(j_,i_)] == AP && !no[X(j_,i_)]); bc = bc | (here[i_] == AP && !no[i_]) :: else fi };
      assert(best || !told[t_] || bw);                                                              /* G1 */
      assert(best || bw == bc); bw = 0; bc = 0                                                      /* G5 */
#endif
    } }
}
init {
  byte s, w;
  atomic {
    for (w : 0 .. NW-1) { for (s : 0 .. NS-1) { run row(s, w) } };
    for (s : 0 .. NK-1) { run client(s) }; s = 0; w = 0 }
  do
#ifndef NO_CRASH
  :: d_step { !calm -> crash(0) }
  :: d_step { !calm -> crash(1) }
#if NS > 2
  :: d_step { !calm -> crash(2) }
#endif
#endif
  :: d_step { !calm -> calm = 1 }               /* no more faults: every run must come to rest, in order */
  :: atomic { timeout -> rest(); over = 1; break }
  od }
