"""The job records: one DynamoDB item per audio and per generation, moved only by conditional writes.

    audio:       awaiting_upload -> uploaded | failed(expired);  uploaded <-> embedding -> ready | failed
                 ready -> uploaded when it is embedded again
    generation:  waiting -> queued <-> running -> succeeded | failed;  waiting, queued, running -> cancelled;
                 waiting -> failed when its audio fails
    both:        any -> deleted | expired   (a tombstone, removed by the table's TTL)
                 failed -> uploaded | queued   when the dead letter of its last attempt is replayed

Table layout
    pk = tenant#{tenant}
    sk = audio#{id} | generation#{id} | idempotency#{sha256 of the client's key}
       | usage#unfinished | usage#stored | usage#{day}   (what the tenant's limits count)
       | turns#audio | turns#generation   (the tenant's jobs that the workers may have)
       | content#{sha256 of a file}       (the tenant's first audio that have this content)
    pk = sweeper, sk = reconciliation     (how far it came)
    pk = speed, sk = {profile}            (how fast it generates)
    index by_audio (audio_pk, sk): the generations of one audio
    index due (open, due_at): every item that has to be looked at again, by the time to do so

Every write names the state it leaves. `due_at` is the one clock of the system: the end of a claim, the time
to send a message again, the end of an upload's or a record's life; only the sweeper acts on it. A running
item carries a lease and an attempt number; whoever holds an older attempt is fenced out of every later write.
Renewing a lease leaves the index alone: an item that comes due before its lease ends is due at that end.

A client that hears nothing of a write repeats it, and then meets the state that its own first try has made.
Every write therefore leaves a mark of its own on the item (`write`): a refused write whose mark is there has
happened.
"""

from __future__ import annotations

from backend.records.moves import Records
from backend.records.types import (
    COOL_DOWN_SECONDS,
    FREE,
    HANDED_OVER_SECONDS,
    LEASE_SECONDS,
    MAX_WAITING,
    MIN_CHARGE_SECONDS,
    MIN_RECORD_BYTES,
    PENDING_AUDIO,
    RENEW_SECONDS,
    RESEND_LIMIT_SECONDS,
    RESEND_SECONDS,
    TOMBSTONE_SECONDS,
    UNFINISHED_GENERATION,
    UPLOAD_GRACE_SECONDS,
    Audio,
    Charge,
    Conflict,
    Fenced,
    Generation,
    IdempotencyMismatch,
    Leased,
    LimitReached,
    Limits,
    NotFound,
    OutOfTurn,
    Record,
    RecordError,
    Tombstone,
    TooManyWaiting,
    new_id,
)

__all__ = [
    "COOL_DOWN_SECONDS",
    "FREE",
    "HANDED_OVER_SECONDS",
    "LEASE_SECONDS",
    "MAX_WAITING",
    "MIN_CHARGE_SECONDS",
    "MIN_RECORD_BYTES",
    "PENDING_AUDIO",
    "RENEW_SECONDS",
    "RESEND_LIMIT_SECONDS",
    "RESEND_SECONDS",
    "TOMBSTONE_SECONDS",
    "UNFINISHED_GENERATION",
    "UPLOAD_GRACE_SECONDS",
    "Audio",
    "Charge",
    "Conflict",
    "Fenced",
    "Generation",
    "IdempotencyMismatch",
    "Leased",
    "LimitReached",
    "Limits",
    "NotFound",
    "OutOfTurn",
    "Record",
    "RecordError",
    "Records",
    "Tombstone",
    "TooManyWaiting",
    "new_id",
]
