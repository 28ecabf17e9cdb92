/* Whose key it is (G4): two clients X=0 and Y=1 bring one key and one request, at two sites that a cut may part.
 * Each site decides for itself; a success is shipped as an entry with key and client; the service may refuse anybody.
 * A refusal holds the key against the client that brought it alone. With another client the second at a replica is
 * quarantined (key-of-another). A crash makes what is being sent unknown; that is passed, or found by the probe. */
#define NW 4
#define NO 0
#define SEND 1
#define AP 2
#define RF 3
#define DU 4
#define QU 5
#define UNK 6
#define X(s,w) ((s)*NW+(w))
byte n, org[NW], cl[NW];                        /* writes accepted so far; origin, client */
byte st[2*NW], entry[NW];                       /* stage at each replica; 1: settled as a success, to be followed */
byte cnt[4], told[2], toldrf[4], sn[2];         /* applied at s for c; told success; refusal told at s to c */
bit calm;
hidden byte i_, hit, copy, clash;
inline look(s, c) {       /* 0 new, 1 c's recorded success, 2 in flight, 3 unknown, 4 c's refusal, 5 another's */
  hit = 0;
  for (i_ : 0 .. NW-1) {
    if :: i_ >= n || st[X(s,i_)] == NO -> skip
       :: else -> if
          :: st[X(s,i_)] == SEND -> hit = 2
          :: cl[i_] == c && (st[X(s,i_)] == AP || st[X(s,i_)] == DU) && hit != 2 -> hit = 1
          :: cl[i_] == c && st[X(s,i_)] == RF && (hit == 0 || hit == 5) -> hit = 4
          :: cl[i_] == c && (st[X(s,i_)] == UNK || st[X(s,i_)] == QU) && hit != 2 && hit != 1 -> hit = 3
          :: cl[i_] != c && st[X(s,i_)] != RF && hit == 0 -> hit = 5
          :: else fi fi }; i_ = 0
}
#define SENDS(s) \
  :: d_step { sn[c] < 3 && !calm -> sn[c]++; look(s, c);                                                             \
       assert(!(toldrf[(s)*2+c]) || hit != 0);                                                             /* G4 */ \
       if :: hit == 0 && n < NW -> org[n] = s; cl[n] = c; st[X(s,n)] = SEND; n++                                    \
          :: hit == 1 -> told[c] = 1                                                                                \
          :: hit == 4 -> toldrf[(s)*2+c] = 1                                                                        \
          :: else fi; hit = 0 }
proctype client(byte c) {
end: do
  SENDS(0) SENDS(1)
  od }
#ifdef BUG_ANY_CLIENT                           /* key and digest alone make a copy */
#define MINE 1
#else
#define MINE (cl[i_] == cl[w])
#endif
#define BUSY (st[X(s,0)] == SEND || st[X(s,1)] == SEND || st[X(s,2)] == SEND || st[X(s,3)] == SEND)
inline others(s, w) {     /* of the other writes of the key at s: is one a copy, is one another client's */
  copy = 0; clash = 0;
  for (i_ : 0 .. NW-1) {
    if :: i_ < n && i_ != w && (st[X(s,i_)] == AP || st[X(s,i_)] == QU || st[X(s,i_)] == UNK) ->
          clash = 1; copy = copy | MINE
       :: else fi }; i_ = 0
}
inline apply(s, w) {
  cnt[(s)*2+cl[w]]++; assert(cnt[(s)*2+cl[w]] <= 1);                                               /* G2 */
  assert(cnt[(s)*2] + cnt[(s)*2+1] <= 1)                                /* nobody's key is executed for another */
}
#define SENDING (w < n && st[X(s,w)] == SEND)
proctype row(byte s, w) {
end: do
  :: d_step { SENDING -> apply(s, w); st[X(s,w)] = AP;
       if :: s == org[w] -> entry[w] = 1; told[cl[w]] = 1 :: else fi }
  :: d_step { SENDING && !calm -> if :: s == org[w] -> st[X(s,w)] = RF; toldrf[s*2+cl[w]] = 1
                                     :: else -> st[X(s,w)] = QU fi }
  :: d_step { SENDING && !calm -> apply(s, w); st[X(s,w)] = UNK }                 /* applied, and the word was lost */
  :: d_step { SENDING && !calm -> st[X(s,w)] = UNK }                              /* not applied, and nobody knows */
  :: d_step { w < n && st[X(s,w)] == UNK && cnt[s*2+cl[w]] -> st[X(s,w)] = AP;
       if :: s == org[w] -> entry[w] = 1 :: else fi }
  :: d_step { w < n && st[X(s,w)] == UNK -> st[X(s,w)] = QU }
  /* an entry arrives: copy of the same client's, another's, or to be applied */
  :: d_step { w < n && s != org[w] && entry[w] && st[X(s,w)] == NO && !BUSY -> others(s, w);
       st[X(s,w)] = (copy -> DU : (clash -> QU : SEND)); copy = 0; clash = 0 }
  od }
init {
  byte s, w;
  atomic { for (w : 0 .. NW-1) { run row(0, w); run row(1, w) }; run client(0); run client(1); s = 0; w = 0 };
  do
  :: d_step { !calm -> calm = 1 }
  :: atomic { timeout ->
       for (w : 0 .. 1) {
         s = 0;                                 /* 1: a write of the key stands in quarantine somewhere */
         for (i_ : 0 .. NW-1) { if :: i_ < n && (st[X(0,i_)] == QU || st[X(1,i_)] == QU) -> s = 1 :: else fi };
         assert(s || cnt[w] == cnt[2+w]);                                                           /* G5 */
         assert(s || !told[w] || (cnt[w] && cnt[2+w])) };                                           /* G1 */
       break }
  od }
