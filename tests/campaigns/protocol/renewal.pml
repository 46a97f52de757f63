/*
 * How the clients of a store renew their token: `taxizer_async/_token/{lease_wait,renewal}.py` over a store.
 *
 * Each client is a process with one refresh at a time. Its labels are where it may stop: between two of its steps
 * others may take any number of theirs. It may also crash there, and begins anew with nothing. Steps are one here if
 * a stop between them changes nothing, as a stop before or after both does the same.
 *
 * A lease may end at any moment: its holder stopped for too long. A call of the store may fail, its answer may get
 * lost, and a save may be late. An exchange may fail, with or without having arrived. Tokens are numbered in the
 * order in which they were asked for, and come to their ends in that order.
 *
 * The promises:
 * (a) no refresh token is sent twice,
 * (b) nothing is saved without a lease that lives,
 * (c) no two exchanges run under leases that live,
 * (d) each refresh comes to its end, whatever others do,
 * (e) a good token that was saved is used: a client that has the lease and could read the store asks for no other one, and
 *     no older one is written over it.
 *
 * Each `#ifdef` but TIMED breaks a rule, and so a promise: `run.py` knows which.
 */

#ifndef CLIENTS
#define CLIENTS 3
#endif
#ifndef TOKENS
#define TOKENS 3
#endif

#define NOBODY CLIENTS
/* The holder has crashed, or does not know that it has the lease. */
#define NOBODY_ALIVE (CLIENTS + 1)

/* The store: which client has the lease, the number of the record's token, and whether its refresh token is marked. */
byte holder = NOBODY;
byte record;
bit marked;

/* A save that is late: what it writes, and whether its holder could read the store. One that the store is going to
   refuse is dropped at once. */
bit late, late_mark, late_looked, late_unleased;
byte late_token;

/* The server: how many tokens were asked for, how many of them are due, and which refresh tokens have arrived. */
byte asked;
byte due;
bit sent[TOKENS + 1];

/* Which clients have a lease that lives, and which are in an exchange. */
bit leased[CLIENTS];
bit exchanging[CLIENTS];

#ifdef TIMED
/* Whether the first client has a refresh under way, and whether its time is over. */
bit refreshing;
bit over;
#define IS_UNDER_WAY (_pid != 0 || refreshing)
#define TIME_IS_LEFT (_pid != 0 || !over)
#else
/* The time of any refresh may be over at any moment. */
#define IS_UNDER_WAY true
#define TIME_IS_LEFT true
#endif

#define IS_GOOD(number) ((number) > due)
#define HOLDS_LEASE (holder == _pid)
/* What a client that looks into the store may use. */
#define ADOPTABLE (IS_GOOD(record) && record >= token)
#define REFRESHABLE (record != 0 && record >= token && !marked)
#define EXCHANGES(client) (client < CLIENTS && exchanging[client % CLIENTS] && leased[client % CLIENTS])

#ifdef SAVES_WITHOUT_LEASE
#define MAY_SAVE true
#else
#define MAY_SAVE HOLDS_LEASE
#endif
#ifdef TWO_LEASES
#define IS_FREE true
#else
#define IS_FREE (holder == NOBODY || HOLDS_LEASE)
#endif
#ifdef TURNS_AFTER_THE_END
#define MAY_LEASE IS_FREE
#else
#define MAY_LEASE (IS_FREE && TIME_IS_LEFT)
#endif
#ifdef WAITS_WITHOUT_END
#define MAY_WAIT true
#else
#define MAY_WAIT TIME_IS_LEFT
#endif

inline drop_late()
{
    late = 0; late_mark = 0; late_looked = 0; late_unleased = 0; late_token = 0
}

inline end_lease()
{
    if
    :: holder < CLIENTS -> leased[holder] = 0
    :: else
    fi;
    holder = NOBODY;
#ifdef LATE_SAVES
    late_unleased = late
#else
    drop_late()
#endif
}

/* The client does not know any more that it has the lease. */
inline leave_lease()
{
    leased[_pid] = 0;
    holder = (HOLDS_LEASE -> NOBODY_ALIVE : holder)
}

inline take_lease()
{
    holder = _pid;
    leased[_pid] = 1
}

/* If it does not arrive the lease lasts to its end, as that of a client that has crashed does. */
inline release()
{
    if
    :: HOLDS_LEASE -> end_lease()
    :: else
    fi;
    leads = 0; looked = 0; old = 0
}

inline end_refresh()
{
#ifdef TIMED
    refreshing = (_pid == 0 -> 0 : refreshing);
    over = (_pid == 0 -> 0 : over)
#else
    skip
#endif
}

inline write(number, mark_it)
{
    assert(leased[_pid]);                                                   /* (b) */
    assert(!looked || !IS_GOOD(record) || number >= record);                /* (e) */
    record = number;
    marked = mark_it;
#ifndef SAVES_OUT_OF_ORDER
    drop_late()
#endif
}

/* One try of a save, which is not answered: the client tries again, or gives up. */
inline save_unheard(number, mark_it)
{
    if
    :: d_step { MAY_SAVE && TIME_IS_LEFT -> write(number, mark_it) }
    :: d_step {
            HOLDS_LEASE && TIME_IS_LEFT && !late ->
            late = 1; late_token = number; late_mark = mark_it; late_looked = looked
        }
    fi
}

inline adopt()
{
    token = record;
    own = 0
}

/* Use the token that was issued, unless a newer one is in use. */
inline use_new(is_own)
{
    own = (new > token -> is_own : own);
    token = (new > token -> new : token);
    new = 0
}

/* A request for a token arrives. */
inline begin_exchange()
{
    exchanging[_pid] = 1;
    assert(EXCHANGES(0) + EXCHANGES(1) + EXCHANGES(2) <= 1);                /* (c) */
    assert(!HOLDS_LEASE || !looked || !IS_GOOD(record));                    /* (e) */
    new = (asked < TOKENS -> asked + 1 : 0);
    asked = (asked < TOKENS -> asked + 1 : asked);
    old = 0
}

/* No client has heard of the token that was asked for, so the next one may have its number. */
inline end_exchange_in_vain()
{
    asked = (new != 0 && new == asked -> asked - 1 : asked);
    due = (due > asked -> asked : due);
    exchanging[_pid] = 0;
    new = 0
}

inline crash()
{
    leave_lease();
    if
    :: exchanging[_pid] -> end_exchange_in_vain()
    :: else -> new = 0
    fi;
    leads = 0; looked = 0; old = 0; token = 0; own = 0;
    end_refresh()
}

active [CLIENTS] proctype Client()
{
    /* The token in use; whether its refresh token is not spent, and nobody else can have it. */
    byte token;
    bit own;
    /* Whether this refresh has the lease, and whether it could read the store since. */
    bit leads;
    bit looked;
    /* The token whose refresh token is to be sent, and the one that was asked for. */
    byte old;
    byte new;

    /* A look that finds nothing leaves nothing, so load and lease are one step. */
end_load:
    do
#ifdef TIMED
    :: d_step { _pid == 0 && !refreshing && !IS_GOOD(token) -> refreshing = 1 }
    :: d_step { _pid == 0 && refreshing -> leave_lease(); end_refresh() }
#endif
    /* Another client has the lease: it looks again. */
    :: !IS_GOOD(token) && IS_UNDER_WAY && !IS_FREE && MAY_WAIT
    :: d_step { !IS_GOOD(token) && IS_UNDER_WAY && ADOPTABLE -> adopt(); leave_lease(); end_refresh() }
    :: d_step { !IS_GOOD(token) && IS_UNDER_WAY && MAY_LEASE -> take_lease(); leads = 1 };
        goto load_again
    :: d_step { !IS_GOOD(token) && IS_UNDER_WAY && MAY_LEASE -> take_lease() }      /* the answer is lost */
    :: d_step { HOLDS_LEASE -> leave_lease() }
    /* Without an answer of the store there is no lease, and the refresh tokens of others are let be. */
    :: d_step { !IS_GOOD(token) && IS_UNDER_WAY && own -> leave_lease(); old = token; own = 0 };
        goto send
    :: d_step { !IS_GOOD(token) && IS_UNDER_WAY -> leave_lease(); begin_exchange() };
        goto answer
    :: d_step { token != 0 -> crash() }
    od;

load_again:
    if
#ifdef LOADS_ONCE
    :: d_step { REFRESHABLE -> looked = 1; old = record; own = (old == token -> 0 : own) };
        goto mark
#else
    :: d_step { ADOPTABLE -> adopt(); release(); end_refresh() };
        goto end_load
#endif
    :: d_step { !ADOPTABLE && REFRESHABLE -> looked = 1; old = record; own = (old == token -> 0 : own) };
        goto mark
    :: d_step { !ADOPTABLE && !REFRESHABLE && own -> looked = 1; old = token; own = 0 };
        goto mark
    :: d_step { !ADOPTABLE -> looked = 1; begin_exchange() };
        goto answer
    :: d_step { !HOLDS_LEASE -> release() };
        goto end_load
    :: d_step { own -> old = token; own = 0 };                              /* no answer */
        goto mark
    :: d_step { true -> begin_exchange() };                                 /* no answer */
        goto answer
    :: d_step { true -> crash() };
        goto end_load
    fi;

mark:
    do
    :: save_unheard(old, 1)
    :: d_step { MAY_SAVE -> write(old, 1) };
        goto send
    :: d_step { !HOLDS_LEASE -> release() };
        goto end_load
#ifdef SENDS_UNMARKED
    :: true ->                                                              /* no answer */
        goto send
#else
    :: d_step { true -> begin_exchange() };                                 /* no answer, so a login */
        goto answer
#endif
    :: d_step { true -> crash() };
        goto end_load
    od;

send:
    if
    :: d_step {
            true ->
            assert(!sent[old]);                                             /* (a) */
            sent[old] = 1;
            begin_exchange()
        };
        goto answer
    /* It certainly does not arrive. */
    :: leads ->
        goto unmark
    :: d_step { !leads -> own = 1; begin_exchange() };
        goto answer
    :: d_step { !leads -> own = 1; old = 0; end_refresh() };
        goto end_load
    :: d_step { true -> crash() };
        goto end_load
    fi;

unmark:
    do
    :: save_unheard(old, 0)
    :: d_step { true -> begin_exchange() };
        goto answer
    :: d_step { true -> release(); end_refresh() };
        goto end_load
    :: d_step { !HOLDS_LEASE -> release() };
        goto end_load
    :: d_step { true -> crash() };
        goto end_load
    od;

answer:
    if
    :: d_step { new != 0 && leads -> exchanging[_pid] = 0 };
        goto save
    :: d_step { new != 0 && !leads -> exchanging[_pid] = 0; use_new(1); end_refresh() };
        goto end_load
    /* It failed: a login, another refresh after others had the lease, or the end. */
    :: d_step { TIME_IS_LEFT -> end_exchange_in_vain(); begin_exchange() };
        goto answer
    :: d_step { TIME_IS_LEFT -> end_exchange_in_vain(); release() };
        goto end_load
    :: d_step { true -> end_exchange_in_vain(); release(); end_refresh() };
        goto end_load
    :: d_step { true -> crash() };
        goto end_load
    fi;

save:
    do
    :: save_unheard(new, 0)
    :: d_step { MAY_SAVE -> write(new, 0); use_new(0); release(); end_refresh() };
        goto end_load
    :: d_step { !HOLDS_LEASE && ADOPTABLE -> use_new(0); adopt(); release(); end_refresh() };
        goto end_load
#ifdef TRUSTS_A_REFUSED_SAVE
    :: d_step { !HOLDS_LEASE -> use_new(1); release(); end_refresh() };
        goto end_load
#endif
    :: d_step { true -> use_new(0); release(); end_refresh() };
        goto end_load
    :: d_step { true -> crash() };
        goto end_load
    od
}

active proctype World()
{
end_world:
    do
    :: d_step { holder != NOBODY -> end_lease() }
    :: d_step {
            late ->
            assert(!late_unleased);                                         /* (b) */
            assert(!late_looked || !IS_GOOD(record) || late_token >= record);       /* (e) */
            record = late_token;
            marked = late_mark;
            drop_late()
        }
    :: d_step { late -> drop_late() }
    :: due < asked -> due++
    od
}

#ifdef TIMED
active proctype Clock()
{
end_clock:
    do
    :: refreshing && !over -> over = 1
    od
}

ltl d { [] (refreshing -> <> !refreshing) }
#endif
