/* The CPU engine: six operations and a probe of the machine, run from a list by a small pool of threads.
 *
 * A network is a list of operations, a structure each: its kind, sizes, strides and addresses. ops.py writes them,
 * mirroring every structure here field by field. `engine_run` walks the list; an operation is divided into items
 * (independent pieces of the result). A thread takes those of its own share, which lie side by side in memory, then what
 * the others have left of theirs, so a neighbour who keeps one core busy slows us by what it takes and no more; between
 * operations they meet at a barrier.
 *
 * Every sum has one order, whatever the number of rows, of threads, or the width of the machine's vectors:
 * vectors are always 16 lanes, a dot product runs along its inputs in each lane, products of integers are summed
 * exactly, and nothing is contracted that is not written as a fused multiply-add. So a row's result does not
 * depend on the batch it is in, a prefill equals the steps it replaces, and a resumed run ends with the same bytes.
 *
 * Weights are packed (see packing.py) in blocks of 16 outputs:
 *   f32   [blocks][inputs][16]
 *   int8  [blocks][inputs / 2][16][2], a float16 scale for each group of inputs: [blocks][groups][16]
 *   int4  the same with two inputs in a byte: [blocks][inputs / 2][16], the first in the low half, 8 added
 * Integer weights meet activations quantised to 16 bits for each row and group. Inputs whose activations are far larger
 * than the others' stand apart from both: their weights, f32 [blocks][columns][16], are zeros among the integers.
 *
 * In comments, [..][..] are the dimensions of an array, the last one adjacent in memory. A stride is the number of
 * elements from the beginning of one row to that of the next.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float v16f __attribute__((vector_size(64), aligned(4)));
typedef int32_t v16i __attribute__((vector_size(64), aligned(4)));
typedef int16_t v32h __attribute__((vector_size(64), aligned(2)));
typedef int16_t v16h __attribute__((vector_size(32), aligned(2)));
typedef int8_t v32b __attribute__((vector_size(32), aligned(1)));
typedef int8_t v16b __attribute__((vector_size(16), aligned(1)));
typedef uint8_t v16u __attribute__((vector_size(16), aligned(1)));
typedef _Float16 v16e __attribute__((vector_size(32), aligned(2)));

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
/* Loops over rows and blocks of a tile: only where none is left are its sums in registers. */
#define UNROLL _Pragma("clang loop unroll(full)")
#define UP(n, to) (((n) + (to) - 1) / (to) * (to))
#if defined(__AVX512F__)
#define ROWS 8 /* rows of a tile: what the registers hold */
#else
#define ROWS 4
#endif
#define MOST_GROUP 64 /* inputs that share a scale, at most */
#define FETCH(at) __builtin_prefetch(at, 0, 2) /* into the cache that is a core's own */
#define AHEAD 3072 /* bytes that streams are fetched ahead: the processor alone starts anew at each page */
#define SOON 2048 /* the same for floats and the LSTM, whose weights mostly come from a nearer cache */
#if defined(__AMX_INT8__)
#define SQUARE 1
#else
#define SQUARE 0
#endif
#define SIDE 16 /* rows of a register of the processor's matrix unit */
#define LONG 32768 /* bytes of a block of weights */
#define PANEL 96 /* rows of an item of a tall product, a multiple of ROWS and SIDE */

enum { LINEAR, NORM, ATTEND, UNARY, LSTM, GATHER, PROBE }; /* kinds of operations */
enum { F32, I8, I4 }; /* precisions of weights and caches */
enum { NONE, RELU, GELU, ELU }; /* activations */

/* Memory that is read from `at` on; of weights, blocks that are `apart` are read side by side. */
typedef struct {
    const int8_t *at;
    int64_t apart;
} Stream;
/* A query whose weights are known, and whose values are still to be summed. */
typedef struct {
    int64_t item; /* -1 for none */
    int64_t blocks; /* of 16 keys */
    float scale, inverse; /* of the weights, and of their sum */
    int set; /* which weights of the thread's scratch they are */
} Held;
/* Who computes an item. */
typedef struct {
    void *shared; /* scratch of the operation: quantised rows */
    void *own;    /* scratch of the thread: scores, or weights */
    int begun;    /* whether the thread has computed an item of this phase */
    Stream next;  /* what it reads after this item */
    Held held;    /* what it has left over of the item before */
} Turn;

/* ---- Vectors ------------------------------------------------------------------------------------------- */

#define LOAD(type, at) (*(const type *)(at))
#define STORE(at, v) (*(v16f *)(at) = (v))
#define FLOAT(v) __builtin_convertvector(v, v16f)
INLINE v16f splat(float x) { return (v16f){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE v16i splati(int32_t x) { return (v16i){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE v16f fma16(v16f a, v16f b, v16f c) { return __builtin_elementwise_fma(a, b, c); }
INLINE v16f select16(v16i mask, v16f a, v16f b) { return (v16f)((mask & (v16i)a) | (~mask & (v16i)b)); }
/* Where a is not a number the result is not, either: an activation must not make one of it. */
INLINE v16f max16(v16f a, v16f b) { return select16((v16i)(a < b), b, a); }
INLINE v16f min16(v16f a, v16f b) { return select16((v16i)(a > b), b, a); }

/* Lanes i and i + width, for each power of two from 8 down. */
#define FOLD(v, with) \
    v = with(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1)); \
    v = with(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)); \
    v = with(v, __builtin_shufflevector(v, v, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)); \
    v = with(v, __builtin_shufflevector(v, v, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1))
INLINE v16f add16(v16f a, v16f b) { return a + b; }
INLINE float sum_lanes(v16f v) {
    FOLD(v, add16);
    return v[0];
}
INLINE float max_lanes(v16f v) {
    FOLD(v, max16);
    return v[0];
}
/* The first `count` lanes, zeros behind: what lies behind is not read. */
INLINE v16f load_part(const float *at, int64_t count) {
    float s[LANES] = {0};
    if (count >= LANES) return LOAD(v16f, at);
    for (int64_t i = 0; i < count; i++) s[i] = at[i];
    return LOAD(v16f, s);
}
INLINE void store_part(float *at, v16f v, int64_t count) {
    if (count >= LANES) { STORE(at, v); return; }
    float s[LANES];
    memcpy(s, &v, sizeof v);
    for (int64_t i = 0; i < count; i++) at[i] = s[i];
}

INLINE v16f first_lanes(v16f v, int64_t count) {
    if (count >= LANES) return v;
    float s[LANES];
    memcpy(s, &v, sizeof v);
    return load_part(s, count);
}

/* exp: 2^n e^r with |r| <= ln(2)/2, e^r by its Taylor series to the 7th power (relative error 2e-7 in all). */
INLINE v16f exp16(v16f x) {
    x = max16(min16(x, splat(88.0f)), splat(-87.0f));
    v16f n = __builtin_elementwise_roundeven(x * splat(1.44269504f));
    v16f r = fma16(n, splat(-0.693145752f), x);
    r = fma16(n, splat(-1.42860677e-6f), r);
    v16f e = splat(1.0f / 5040);
    e = fma16(e, r, splat(1.0f / 720));
    e = fma16(e, r, splat(1.0f / 120));
    e = fma16(e, r, splat(1.0f / 24));
    e = fma16(e, r, splat(1.0f / 6));
    e = fma16(e, r, splat(0.5f));
    e = fma16(e, r, splat(1.0f));
    e = fma16(e, r, splat(1.0f));
    v16i exponent = __builtin_convertvector(n, v16i) + splati(127);
    return e * (v16f)(exponent << 23);
}
INLINE v16f sigmoid16(v16f x) { return splat(1.0f) / (splat(1.0f) + exp16(-x)); }
INLINE v16f tanh16(v16f x) { return splat(2.0f) * sigmoid16(x + x) - splat(1.0f); }
/* gelu(x) = x (1 + erf(x / sqrt 2)) / 2. With t = 1 / (1 + |z| / 2), erfc(|z|) = t exp(-z^2 + P(t)): the form of
 * Abramowitz and Stegun 7.1.26; P(t) = log(erfcx(2 / t - 2) / t)
 * is our own fit at Chebyshev nodes on [1/6, 1]; absolute error 6e-7. */
INLINE v16f gelu16(v16f x) {
    static const float P[] = {8.00564438e-02f, -5.62048018e-01f, 1.48908687e+00f, -1.79754853e+00f, 8.62882674e-01f,
                              -2.40359336e-01f, 4.40265715e-01f, 9.92849648e-01f, -1.26518571e+00f};
    v16f z = x * splat(0.70710678f);
    v16f a = __builtin_elementwise_abs(z);
    v16f t = splat(1.0f) / fma16(a, splat(0.5f), splat(1.0f));
    v16f p = splat(P[0]);
    for (unsigned i = 1; i < sizeof P / sizeof *P; i++) p = fma16(p, t, splat(P[i]));
    v16f tail = t * exp16(fma16(-a, a, p)); /* erfc(|z|) */
    v16f twice = select16((v16i)(z >= splat(0.0f)), splat(2.0f) - tail, tail);
    return splat(0.5f) * x * twice;
}
INLINE v16f activate(int64_t kind, v16f x) {
    switch (kind) {
        case RELU: return max16(x, splat(0.0f));
        case GELU: return gelu16(x);
        case ELU: return select16((v16i)(x > splat(0.0f)), x, exp16(min16(x, splat(0.0f))) - splat(1.0f));
        default: return x;
    }
}

/* Two inputs of a row, for every lane. */
INLINE v16i pair(const int16_t *x) {
    int32_t both;
    memcpy(&both, x, sizeof both);
    return splati(both);
}
/* acc[lane] += w[2 lane] x[0] + w[2 lane + 1] x[1], exactly. */
INLINE v16i dot_pairs(v16i acc, v32h w, v16i x) {
#if defined(__AVX512VNNI__)
    /* As an intrinsic, LLVM takes it apart into a product and a sum. */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
#elif defined(__AVXVNNI__)
    __m256i sum[2], half[2], both[2];
    memcpy(sum, &acc, sizeof sum);
    memcpy(half, &w, sizeof half);
    memcpy(both, &x, sizeof both);
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum[0]) : "x"(half[0]), "x"(both[0]));
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum[1]) : "x"(half[1]), "x"(both[1]));
    memcpy(&acc, sum, sizeof sum);
    return acc;
#elif defined(__AVX2__)
    __m256i half[2], both[2];
    memcpy(half, &w, sizeof half);
    memcpy(both, &x, sizeof both);
    half[0] = _mm256_madd_epi16(half[0], both[0]);
    half[1] = _mm256_madd_epi16(half[1], both[1]);
    v16i products;
    memcpy(&products, half, sizeof half);
    return acc + products;
#else
    v16h even = __builtin_shufflevector(w, w, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    v16h odd = __builtin_shufflevector(w, w, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return acc + __builtin_convertvector(even, v16i) * (x << 16 >> 16) + __builtin_convertvector(odd, v16i) * (x >> 16);
#endif
}
INLINE v32h widen(int64_t precision, const int8_t *at) { /* one pair of inputs for 16 outputs */
    if (precision == I8) return __builtin_convertvector(LOAD(v32b, at), v32h);
    v16i b = __builtin_convertvector(LOAD(v16u, at), v16i);
    return (v32h)((b & splati(15)) | ((b & splati(240)) << 12)) - (v32h)splati(8 << 16 | 8);
}

/* ---- Linear ---------------------------------------------------------------------------------------------- */

/* y[i] = residual[i] + act(x[i] W^T + bias), or with activate_sum y[i] = act(residual[i] + x[i] W^T + bias).
 * A convolution of stride s over a [time][channels] signal is this with an x_stride of s channels. */
typedef struct Linear {
    int64_t kind;
    int64_t rows, inputs, outputs;
    int64_t x_stride, y_stride, residual_stride;
    int64_t precision;     /* of the weights */
    int64_t group;         /* inputs that share a scale; none in F32 */
    int64_t activation, activate_sum;
    const float *x;        /* [rows][inputs] */
    const void *weights;   /* packed */
    const _Float16 *scales; /* [blocks][groups][16] of I8 and I4 */
    int64_t columns;       /* inputs apart, of I8 and I4 */
    const int32_t *column; /* [columns]: which they are, ascending */
    const float *apart;    /* [blocks][columns][16] */
    const float *bias;     /* [outputs], or NULL */
    const float *residual; /* [rows][outputs], or NULL; may be y */
    float *y;              /* [rows][outputs]; not written where they are handed over */
    const void *given;     /* x, quantised by the operation before, or NULL; then no columns are apart */
    void *handed;          /* where y is handed over, quantised as x of the one after, or NULL: up to FEW rows */
} Linear;

typedef struct {
    int16_t *x;    /* tiles of ROWS rows (the last may have fewer): [groups][rows][MOST_GROUP];
                    * where `square`, tiles of 16 rows: [groups][2][16][64], the high bytes, then the low ones */
    float *scales; /* [rows][groups] */
    int64_t width, groups;
    int64_t square; /* whether the product is one of tiles that the processor has registers for */
} Quantised;
INLINE Quantised quantised(const Linear *op, void *scratch) {
    Quantised q;
    q.groups = (op->inputs + op->group - 1) / op->group;
    q.width = q.groups * op->group;
    q.square = SQUARE && op->precision == I8 && op->group == MOST_GROUP && op->rows > ROWS;
    q.x = scratch;
    q.scales = (float *)((char *)scratch + (q.square ? UP(op->rows, SIDE) : op->rows) * q.groups * MOST_GROUP * 2);
    return q;
}
/* Quantised rows. */
static size_t linear_scratch(const Linear *op) {
    if (op->precision == F32 || op->given) return 0;
    Quantised q = quantised(op, NULL);
    return (size_t)(q.scales + op->rows * q.groups);
}
/* Quantise to 16 bits; the scale, not a number where one of them is not. */
INLINE float quantise(const float *x, int16_t *to, int64_t count) {
    v16f most = splat(0.0f), check = splat(0.0f);
    for (int64_t i = 0; i < count; i += LANES) {
        v16f v = load_part(x + i, count - i);
        most = max16(most, __builtin_elementwise_abs(v));
        check += v * splat(0.0f);
    }
    float top = max_lanes(most);
    v16f factor = splat(top > 0.0f ? 32767.0f / top : 0.0f);
    for (int64_t i = 0; i < count; i += LANES) {
        v16f rounded = __builtin_elementwise_roundeven(load_part(x + i, count - i) * factor);
        v16h whole = __builtin_convertvector(__builtin_convertvector(rounded, v16i), v16h);
        memcpy(to + i, &whole, (count - i < LANES ? count - i : LANES) * sizeof *to);
    }
    return top / 32767.0f + sum_lanes(check);
}
/* An item: some groups of all rows of a tile, whose numbers lie side by side: threads that wrote them by turns would take
 * each other's cache lines. */
#define QUANTISED 4
#define FEW 8 /* rows, at most, that each thread quantises for itself: sooner done than fetched from another's cache */
INLINE int shared(const Linear *op) { return op->precision != F32 && op->rows > FEW; }
static int64_t quantise_items(const Linear *op) {
    const int64_t parts = (quantised(op, NULL).groups + QUANTISED - 1) / QUANTISED;
    return (op->rows + ROWS - 1) / ROWS * parts;
}
static void quantise_row(const Linear *op, Quantised q, int64_t row, int64_t first_group, int64_t end_group) {
    const float *x = op->x + row * op->x_stride;
    int64_t group = op->group, first = row / ROWS * ROWS, c = 0;
    int64_t height = op->rows - first < ROWS ? op->rows - first : ROWS;
    int16_t *tile = q.x + first * q.groups * MOST_GROUP + (row - first) * MOST_GROUP;
    while (c < op->columns && op->column[c] < first_group * group) c++;
    for (int64_t g = first_group; g < end_group; g++) {
        int64_t from = g * group, count = op->inputs - from < group ? op->inputs - from : group;
        int16_t whole[MOST_GROUP], *to = q.square ? whole : tile + g * height * MOST_GROUP;
        const float *part = x + from;
        float others[MOST_GROUP];
        if (c < op->columns && op->column[c] < from + count) {
            memcpy(others, part, count * sizeof *others);
            for (; c < op->columns && op->column[c] < from + count; c++) others[op->column[c] - from] = 0.0f;
            part = others;
        }
        if (count < group) memset(to, 0, group * sizeof *to);
        q.scales[row * q.groups + g] = count == MOST_GROUP ? quantise(part, to, MOST_GROUP) : quantise(part, to, count);
        if (q.square) {
            int8_t *high = (int8_t *)(q.x + row / SIDE * SIDE * q.width) + g * 2 * SIDE * MOST_GROUP + row % SIDE * MOST_GROUP;
            for (int i = 0; i < MOST_GROUP; i++) {
                high[i] = (int8_t)(to[i] >> 8);
                high[i + SIDE * MOST_GROUP] = (int8_t)to[i];
            }
        }
    }
}
/* Write a tile: bias, activation and residual. */
static void finish(const Linear *op, const v16f *acc, int64_t height, int wide, int64_t row, int64_t block) {
    const float *bias = op->bias, *residual = op->residual;
    for (int b = 0; b < wide; b++) {
        int64_t at = (block + b) * LANES, count = op->outputs - at;
        v16f shift = bias ? load_part(bias + at, count) : splat(0.0f);
        for (int64_t r = 0; r < height; r++) {
            v16f v = acc[r * wide + b];
            if (bias) v += shift;
            v16f rest = residual ? load_part(residual + (row + r) * op->residual_stride + at, count) : splat(0.0f);
            if (op->activate_sum) v = activate(op->activation, rest + v);
            else if (residual) v = activate(op->activation, v) + rest;
            else v = activate(op->activation, v);
            store_part(op->y + (row + r) * op->y_stride + at, v, count);
        }
    }
}
/* MR rows times NB blocks of outputs. Each block is fetched AHEAD of what is computed; behind its end comes that of the
 * tile that is computed next. */
INLINE void tile(const int MR, const int NB, const int PRECISION, const Linear *op, Quantised q, int64_t row,
                 int64_t block, Stream next) {
    const int64_t inputs = op->inputs, ldx = op->x_stride;
    v16f acc[8 * 2];
    UNROLL for (int i = 0; i < MR * NB; i++) acc[i] = splat(0.0f);
    if (PRECISION == F32) {
        const float *x = op->x + row * ldx;
        const float *w = (const float *)op->weights + block * inputs * LANES;
        for (int64_t k = 0; k < inputs; k++) {
            v16f wk[2];
            UNROLL for (int b = 0; b < NB; b++) {
                wk[b] = LOAD(v16f, w + (b * inputs + k) * LANES);
                __builtin_prefetch((const int8_t *)(w + (b * inputs + k) * LANES) + SOON);
            }
            UNROLL for (int r = 0; r < MR; r++) {
                v16f xk = splat(x[r * ldx + k]);
                UNROLL for (int b = 0; b < NB; b++) acc[r * NB + b] = fma16(xk, wk[b], acc[r * NB + b]);
            }
        }
    } else {
        const int step = PRECISION == I8 ? 2 * LANES : LANES;
        const int64_t bytes = op->group / 2 * step, apart = q.groups * bytes;
        const int64_t lead = AHEAD / bytes; /* groups that are fetched ahead */
        const int16_t *x = q.x + row * q.groups * MOST_GROUP;
        const int8_t *w = (const int8_t *)op->weights + block * apart;
        const _Float16 *scales = op->scales + block * q.groups * LANES;
        for (int64_t g = 0; g < q.groups; g++, scales += LANES) {
            v16i sum[8 * 2];
            UNROLL for (int i = 0; i < MR * NB; i++) sum[i] = splati(0);
            const int within = g + lead < q.groups;
            const Stream fetched = within ? (Stream){w + lead * bytes, apart}
                                          : (Stream){next.at + (g + lead - q.groups) * bytes, next.apart};
            const int16_t *pairs = x + g * MR * MOST_GROUP;
            for (int64_t line = 0; line < bytes; line += 64) {
                UNROLL for (int b = 0; b < NB; b++) __builtin_prefetch(fetched.at + b * fetched.apart + line);
                UNROLL for (int k = 0; k < 64 / step; k++, w += step, pairs += 2) {
                    v32h wk[2];
                    UNROLL for (int b = 0; b < NB; b++) wk[b] = widen(PRECISION, w + b * apart);
                    UNROLL for (int r = 0; r < MR; r++) {
                        v16i xk = pair(pairs + r * MOST_GROUP);
                        UNROLL for (int b = 0; b < NB; b++) sum[r * NB + b] = dot_pairs(sum[r * NB + b], wk[b], xk);
                    }
                }
            }
            UNROLL for (int b = 0; b < NB; b++) {
                v16f scale = FLOAT(LOAD(v16e, scales + b * q.groups * LANES));
                __builtin_prefetch(scales + (NB + b) * q.groups * LANES); /* the next tile's */
                UNROLL for (int r = 0; r < MR; r++)
                    acc[r * NB + b] = fma16(FLOAT(sum[r * NB + b]),
                                            scale * splat(q.scales[(row + r) * q.groups + g]), acc[r * NB + b]);
            }
        }
        for (int64_t c = 0; c < op->columns; c++)
            UNROLL for (int b = 0; b < NB; b++) {
                v16f apart = LOAD(v16f, op->apart + ((block + b) * op->columns + c) * LANES);
                UNROLL for (int r = 0; r < MR; r++)
                    acc[r * NB + b] = fma16(splat(op->x[(row + r) * ldx + op->column[c]]), apart, acc[r * NB + b]);
            }
    }
    v16f made[8 * 2]; /* only these have an address: the sums stay in registers */
    UNROLL for (int i = 0; i < MR * NB; i++) made[i] = acc[i];
    finish(op, made, MR, NB, row, block);
}
#if SQUARE
/* How the registers are divided: the sums of both halves of the activations for two blocks, the halves, two blocks. */
static void shape_tiles(int64_t height) {
    struct { uint8_t palette, first, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.bytes[i] = 64;
        shape.rows[i] = i < 6 ? (uint8_t)height : SIDE;
    }
    _tile_loadconfig(&shape);
}
/* 64 inputs of a block as a register has them: [inputs / 4][16][4]. */
INLINE void stage(const int8_t *w, int8_t *to, const int8_t *fetched) {
    UNROLL for (int i = 0; i < SIDE; i++) {
        v32h rows = LOAD(v32h, w + 64 * i); /* [2][16] pairs of inputs */
        *(v32h *)(to + 64 * i) = __builtin_shufflevector(rows, rows, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7,
            23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        __builtin_prefetch(fetched + 64 * i);
    }
}
/* `height` rows times NB blocks of outputs. An activation is 256 times its high byte, signed, and its low one, unsigned;
 * the integers come out the same. `fresh`: whether the weights are not staged yet, [NB][kept][1024]: all groups, or
 * FEW_KEPT of them by turns. */
#define FEW_KEPT 2
INLINE int64_t place(int64_t group, int64_t kept) { return kept == FEW_KEPT ? group % FEW_KEPT : group; }
INLINE void square_tile(const int NB, const Linear *op, Quantised q, int64_t row, int64_t height, int64_t block,
                        int8_t *staged, int fresh, int64_t kept, Stream next) {
    const int64_t apart = q.width * LANES, groups = q.groups;
    const int8_t *x = (const int8_t *)(q.x + row * q.width), *w = (const int8_t *)op->weights + block * apart;
    const _Float16 *scales = op->scales + block * groups * LANES;
    v16f acc[SIDE * 2];
    int32_t sums[2][2][2][SIDE * LANES]; /* of this group and the one before: [2][high, low][NB][height][16] */
    for (int i = 0; i < height * NB; i++) acc[i] = splat(0.0f);
    shape_tiles(height);
    if (fresh) UNROLL for (int b = 0; b < NB; b++) stage(w + b * apart, staged + b * kept * 1024, w + b * apart + AHEAD);
    /* What memory has to be written first is used a round later: so nobody waits for it. */
    for (int64_t g = 0; g <= groups; g++, x += 2 * SIDE * MOST_GROUP) {
        if (g < groups) {
            int32_t (*now)[2][SIDE * LANES] = sums[g & 1];
            _tile_loadd(4, x, MOST_GROUP);
            _tile_loadd(5, x + SIDE * MOST_GROUP, MOST_GROUP);
            _tile_loadd(6, staged + place(g, kept) * 1024, 64);
            _tile_zero(0);
            _tile_zero(1);
            _tile_dpbssd(0, 4, 6);
            _tile_dpbusd(1, 5, 6);
            if (NB == 2) {
                _tile_loadd(7, staged + (kept + place(g, kept)) * 1024, 64);
                _tile_zero(2);
                _tile_zero(3);
                _tile_dpbssd(2, 4, 7);
                _tile_dpbusd(3, 5, 7);
            }
            _tile_stored(0, now[0][0], 64);
            _tile_stored(1, now[1][0], 64);
            if (NB == 2) {
                _tile_stored(2, now[0][1], 64);
                _tile_stored(3, now[1][1], 64);
            }
            if (fresh && g + 1 < groups) {
                const int64_t lead = g + 1 + AHEAD / 1024;
                const Stream fetched = lead < groups ? (Stream){w + lead * 1024, apart}
                                                     : (Stream){next.at + (lead - groups) * 1024, next.apart};
                UNROLL for (int b = 0; b < NB; b++)
                    stage(w + b * apart + (g + 1) * 1024, staged + (b * kept + place(g + 1, kept)) * 1024,
                          fetched.at + b * fetched.apart);
            }
        }
        if (g == 0) continue;
        int32_t (*before)[2][SIDE * LANES] = sums[(g - 1) & 1];
        UNROLL for (int b = 0; b < NB; b++) {
            v16f scale = FLOAT(LOAD(v16e, scales + (b * groups + g - 1) * LANES));
            for (int64_t r = 0; r < height; r++) {
                v16i sum = (LOAD(v16i, before[0][b] + r * LANES) << 8) + LOAD(v16i, before[1][b] + r * LANES);
                acc[r * NB + b] = fma16(FLOAT(sum), scale * splat(q.scales[(row + r) * groups + g - 1]), acc[r * NB + b]);
            }
        }
    }
    for (int64_t c = 0; c < op->columns; c++)
        for (int b = 0; b < NB; b++) {
            v16f other = LOAD(v16f, op->apart + ((block + b) * op->columns + c) * LANES);
            for (int64_t r = 0; r < height; r++)
                acc[r * NB + b] = fma16(splat(op->x[(row + r) * op->x_stride + op->column[c]]), other, acc[r * NB + b]);
        }
    finish(op, acc, height, NB, row, block);
}
static void square_blocks(const Linear *op, Quantised q, int64_t from, int64_t to, int64_t block, int64_t end, int8_t *staged,
                          Stream after) {
    /* Groups that stay staged: all for the rows that come later; or few, which leaves the nearest cache to what is read. */
    const int64_t kept = to - from > SIDE ? q.groups : FEW_KEPT;
    while (block < end) {
        const int wide = end - block > 1 ? 2 : 1;
        const int64_t apart = q.width * LANES;
        const Stream next = block + wide < end ? (Stream){(const int8_t *)op->weights + (block + wide) * apart, apart} : after;
        for (int64_t row = from; row < to; row += SIDE) {
            const int64_t height = to - row < SIDE ? to - row : SIDE;
            if (wide == 2) square_tile(2, op, q, row, height, block, staged, row == from, kept, next);
            else square_tile(1, op, q, row, height, block, staged, row == from, kept, next);
        }
        block += wide;
    }
    _tile_release(); /* what is in use is saved whenever threads are switched */
}
#endif
typedef void Tile(const Linear *op, Quantised q, int64_t row, int64_t block, Stream next);
/* Tiles by weights, blocks and rows. The wider, the more sums are under way at once; the registers set the limit. */
#define TILE(w, nb, mr) \
    static void tile_##w##_##nb##_##mr(const Linear *op, Quantised q, int64_t row, int64_t block, Stream next) { \
        tile(mr, nb, w, op, q, row, block, next); \
    }
#define NAME(w, nb, mr) tile_##w##_##nb##_##mr
#define TILES(w) \
    TILE(w, 2, 1) TILE(w, 2, 2) TILE(w, 2, 3) TILE(w, 2, 4) \
    TILE(w, 1, 1) TILE(w, 1, 2) TILE(w, 1, 3) TILE(w, 1, 4) MORE_TILES(w)
#if ROWS == 8
#define MORE_TILES(w) \
    TILE(w, 2, 5) TILE(w, 2, 6) TILE(w, 2, 7) TILE(w, 2, 8) TILE(w, 1, 5) TILE(w, 1, 6) TILE(w, 1, 7) TILE(w, 1, 8)
#define MORE(w, nb) NAME(w, nb, 5), NAME(w, nb, 6), NAME(w, nb, 7), NAME(w, nb, 8)
#else
#define MORE_TILES(w)
#define MORE(w, nb)
#endif
TILES(F32) TILES(I8) TILES(I4)
#define TABLE(w) \
    {{NAME(w, 1, 1), NAME(w, 1, 2), NAME(w, 1, 3), NAME(w, 1, 4), MORE(w, 1)}, \
     {NAME(w, 2, 1), NAME(w, 2, 2), NAME(w, 2, 3), NAME(w, 2, 4), MORE(w, 2)}}
static Tile *const tiles[3][2][ROWS] = {TABLE(F32), TABLE(I8), TABLE(I4)}; /* [precision][log2 blocks][rows - 1] */

INLINE int64_t block_bytes(const Linear *op) {
    if (op->precision == F32) return op->inputs * LANES * 4;
    return (op->inputs + op->group - 1) / op->group * op->group * (op->precision == I8 ? LANES : LANES / 2);
}
/* Blocks per item: tall products are cut by rows first; where blocks are long, two keep the memory busy. */
INLINE int64_t linear_blocks(const Linear *op) {
    if (op->handed) return MOST_GROUP / LANES;
    return op->rows > ROWS ? 8 : block_bytes(op) > LONG ? 2 : 4;
}
INLINE int64_t linear_panels(const Linear *op) { return (op->rows + PANEL - 1) / PANEL; }
/* Of a thread: its rows, and outputs of an item that are handed over; or two blocks of weights. */
static size_t linear_own(const Linear *op) {
    if (!shared(op)) return UP(linear_scratch(op), 64) + (op->handed ? op->rows * MOST_GROUP * sizeof(float) : 0);
    return quantised(op, NULL).square ? (size_t)quantised(op, NULL).width * LANES * 2 : 0;
}
static int64_t linear_items(const Linear *op, int64_t phase) {
    if (shared(op) && phase == 0) return quantise_items(op);
    int64_t blocks = (op->outputs + LANES - 1) / LANES;
    return linear_panels(op) * ((blocks + linear_blocks(op) - 1) / linear_blocks(op));
}
/* The weights of an item. */
static Stream stream_of(const Linear *op, int64_t item) {
    const int64_t block = item / linear_panels(op) * linear_blocks(op);
    return (Stream){(const int8_t *)op->weights + block * block_bytes(op), block_bytes(op)};
}
static void linear_item(const Linear *op, int64_t phase, int64_t item, Turn turn) {
    Quantised q = {0};
    if (shared(op)) {
        q = quantised(op, turn.shared);
        if (phase == 0) {
            const int64_t parts = (q.groups + QUANTISED - 1) / QUANTISED, first = item % parts * QUANTISED;
            const int64_t last = first + QUANTISED < q.groups ? first + QUANTISED : q.groups;
            for (int64_t row = item / parts * ROWS; row < item / parts * ROWS + ROWS && row < op->rows; row++)
                quantise_row(op, q, row, first, last);
            return;
        }
    } else if (op->given) {
        q = quantised(op, (void *)op->given);
    } else if (op->precision != F32) {
        q = quantised(op, turn.own);
        for (int64_t row = 0; row < op->rows && !turn.begun; row++) quantise_row(op, q, row, 0, q.groups);
    }
    int64_t blocks = (op->outputs + LANES - 1) / LANES, each = linear_blocks(op), panels = linear_panels(op);
    int64_t block = item / panels * each, end = block + each < blocks ? block + each : blocks;
    int64_t from = item % panels * PANEL, to = from + PANEL < op->rows ? from + PANEL : op->rows;
#if SQUARE
    if (q.square) {
        square_blocks(op, q, from, to, block, end, turn.own, turn.next);
        return;
    }
#endif
    const int64_t output = block * LANES;
    Linear near = *op; /* what is handed over is made in the thread's own memory */
    if (op->handed) {
        near.y = (float *)((char *)turn.own + UP(linear_scratch(op), 64)) - output;
        near.y_stride = MOST_GROUP;
    }
    int64_t height = to - from < ROWS ? to - from : ROWS;
    const int most = height <= ROWS / 2 || ROWS == 8;
    while (block < end) {
        int wide = most;
        while (end - block < 1 << wide) wide--;
        const Stream here = {(const int8_t *)op->weights + block * block_bytes(op), block_bytes(op)};
        block += 1 << wide;
        const Stream next = {here.at + (here.apart << wide), here.apart};
        for (int64_t row = from; row < to; row += ROWS)
            tiles[op->precision][wide][(to - row < ROWS ? to - row : ROWS) - 1](
                &near, q, row, block - (1 << wide), row + ROWS < to ? here : block < end ? next : turn.next);
    }
    if (!op->handed) return;
    const Linear after = {.rows = op->rows, .inputs = op->outputs, .precision = op->precision, .group = MOST_GROUP,
                          .x = near.y, .x_stride = near.y_stride};
    for (int64_t row = 0; row < op->rows; row++)
        quantise_row(&after, quantised(&after, op->handed), row, output / MOST_GROUP, output / MOST_GROUP + 1);
}

/* ---- Norm ------------------------------------------------------------------------------------------------ */

/* Layer norm:             y[i] = (x[i] - mean(x[i])) / sqrt(variance(x[i]) + epsilon) gain + shift
 * Root mean square norm:  y[i] = x[i] / sqrt(mean(x[i]^2) + epsilon) gain + shift */
typedef struct {
    int64_t kind;
    int64_t rows, width;
    int64_t x_stride, y_stride;
    int64_t root_mean_square; /* whether it is the second one */
    const float *x;           /* [rows][width] */
    const float *gain;        /* [width] */
    const float *shift;       /* [width], or NULL */
    float *y;                 /* [rows][width]; may be x */
    float epsilon;
} Norm;

static void norm_row(const Norm *op, int64_t row) {
    const float *x = op->x + row * op->x_stride, *gain = op->gain, *shift = op->shift;
    float *y = op->y + row * op->y_stride;
    int64_t width = op->width;
    float mean = 0.0f;
    v16f sum = splat(0.0f);
    if (!op->root_mean_square) {
        for (int64_t i = 0; i < width; i += LANES) sum += load_part(x + i, width - i);
        mean = sum_lanes(sum) / (float)width;
    }
    v16f squares = splat(0.0f);
    for (int64_t i = 0; i < width; i += LANES) {
        v16f v = first_lanes(load_part(x + i, width - i) - splat(mean), width - i);
        squares = fma16(v, v, squares);
    }
    float scale = 1.0f / sqrtf(sum_lanes(squares) / (float)width + op->epsilon);
    for (int64_t i = 0; i < width; i += LANES) {
        v16f v = (load_part(x + i, width - i) - splat(mean)) * splat(scale) * load_part(gain + i, width - i);
        if (shift) v += load_part(shift + i, width - i);
        store_part(y + i, v, width - i);
    }
}

/* ---- Attend ---------------------------------------------------------------------------------------------- */

/* y = softmax(scale q K^T + bias) V for each head of each sequence, K and V being what its cache holds; before,
 * k and v are appended to the cache.
 * A causal query sees the keys up to its own; any other sees all, and y is zeros where there are none.
 * The caches are packed as weights are, [sequences][heads] of them: keys as the matrix that turns a query into scores,
 *   F32 [capacity / 16][size][16], I8 [capacity / 16][size / 2][16][2];
 * values as the one that turns weights into the result, size rounded up to 16,
 *   F32 [capacity][size], I8 [capacity / 2][size][2].
 * Over an I8 cache, queries and weights are quantised to 16 bits. */
typedef struct {
    int64_t kind;
    int64_t sequences, queries, heads; /* queries of each sequence */
    int64_t size;                      /* of a head, even */
    int64_t capacity;                  /* keys that a cache has room for, a multiple of 16 */
    int64_t new_keys;                  /* to be appended to each sequence */
    int64_t precision;                 /* of the cache: F32 or I8 */
    int64_t causal;
    int64_t q_stride, kv_stride, y_stride;
    int64_t biases, bias_stride;       /* sequence s takes bias s % biases */
    const float *q;                    /* [sequences queries][heads size] */
    const float *k, *v;                /* [sequences new_keys][heads size] */
    void *keys, *values;               /* the cache */
    float *scales;                     /* [sequences][heads][2][capacity] of an I8 cache: of keys, of values */
    const int32_t *lengths;            /* [sequences]: keys that are there before */
    const float *bias;                 /* [biases][heads][queries][bias_stride], or NULL */
    float *y;                          /* [sequences queries][heads size] */
    float scale;
} Attend;

#define NEAR 3072 /* bytes of keys and of values that are fetched ahead */
#define SEGMENT 512 /* values that are summed as integers: 512 * 127 * 32767 fits */
typedef struct {
    float *scores;    /* [4][capacity] */
    int16_t *weights; /* [4][capacity] */
    int16_t *query;   /* [4][size] */
} Scratch;
INLINE size_t attend_scratch(const Attend *op) { return 4 * (6 * (size_t)op->capacity + 2 * (size_t)op->size); }
/* The factor of values that become bytes; the scale, not a number where one of them is not. */
INLINE v16f rounding(const float *x, int64_t count, float *scale) {
    v16f most = splat(0.0f), check = splat(0.0f);
    for (int64_t i = 0; i < count; i += LANES) {
        const v16f v = load_part(x + i, count - i);
        most = max16(most, __builtin_elementwise_abs(v));
        check += v * splat(0.0f);
    }
    const float top = max_lanes(most);
    *scale = top / 127.0f + sum_lanes(check);
    return splat(top > 0.0f ? 127.0f / top : 0.0f);
}
INLINE v16i rounded(const float *x, v16f factor, int64_t count) {
    return __builtin_convertvector(__builtin_elementwise_roundeven(load_part(x, count) * factor), v16i);
}
static void append(const Attend *op, int64_t sequence, int64_t head, int64_t old) {
    const int64_t size = op->size, padded = UP(size, LANES), capacity = op->capacity, many = op->new_keys;
    const int64_t lane = sequence * op->heads + head;
    for (int64_t i = 0; i < many; i++) {
        const int64_t from = (sequence * many + i) * op->kv_stride + head * size, at = old + i;
        const int64_t key = lane * capacity * size + at / LANES * size * LANES; /* where the block of 16 keys begins */
        const float *k = op->k + from, *v = op->v + from;
        if (op->precision == F32) {
            float *keys = (float *)op->keys + key + at % LANES;
            for (int64_t d = 0; d < size; d++) keys[d * LANES] = k[d];
            memcpy((float *)op->values + (lane * capacity + at) * padded, v, size * sizeof *v);
            continue;
        }
        float *scales = op->scales + lane * 2 * capacity + at;
        const v16f k_factor = rounding(k, size, scales), v_factor = rounding(v, size, scales + capacity);
        int8_t *keys = (int8_t *)op->keys + key + at % LANES * 2;
        int8_t *values = (int8_t *)op->values + (lane * capacity + at / 2 * 2) * padded; /* padded: whole vectors of them */
        for (int64_t d = 0; d < size; d += LANES) {
            const int64_t count = size - d < LANES ? size - d : LANES;
            int8_t whole[LANES];
            const v16b key_bytes = __builtin_convertvector(rounded(k + d, k_factor, count), v16b);
            memcpy(whole, &key_bytes, sizeof whole);
            for (int64_t e = 0; e < count; e += 2) memcpy(keys + (d + e) * LANES, whole + e, 2);
            /* Two positions share the 16 bits of a value: the first has the low half. */
            v16h *both = (v16h *)(values + 2 * d);
            const v16h fresh = __builtin_convertvector(rounded(v + d, v_factor, count), v16h);
            *both = at % 2 ? (*both & 255) | fresh << 8 : (*both & -256) | (fresh & 255);
        }
    }
}
/* Where the keys of an item begin, and its values behind them. */
INLINE Stream keys_of(const Attend *op, int64_t lane) {
    const int64_t each = op->precision == I8 ? 1 : 4;
    const int8_t *keys = (const int8_t *)op->keys + lane * op->capacity * op->size * each;
    return (Stream){keys, (const int8_t *)op->values + lane * op->capacity * UP(op->size, LANES) * each - keys};
}
/* Fetch what another item of an I8 cache needs before its keys: its query, its new key and value, where they go, and its
 * scales. */
static void expect(const Attend *op, int64_t item) {
    const Stream there = keys_of(op, item);
    const int64_t size = op->size, sequence = item / op->heads, head = item % op->heads, old = op->lengths[sequence];
    const float *scales = op->scales + item * 2 * op->capacity;
    for (int64_t i = 0; i < size; i += LANES) {
        FETCH(op->q + sequence * op->queries * op->q_stride + head * size + i);
        if (!op->new_keys) continue;
        FETCH(op->k + sequence * op->new_keys * op->kv_stride + head * size + i);
        FETCH(op->v + sequence * op->new_keys * op->kv_stride + head * size + i);
    }
    for (int64_t i = 0; i < size * 2; i += 64) FETCH(there.at + there.apart + old / 2 * 2 * UP(size, LANES) + i);
    for (int side = 0; side < 2; side++, scales += op->capacity) {
        for (int64_t i = 0; i < 4 * LANES; i += LANES) FETCH(scales + i);
        FETCH(scales + old);
    }
}
/* Scores of QR queries against KB blocks of 16 keys; as many bytes are fetched from `soon` on. */
INLINE void scores(const int QR, const int KB, const int PRECISION, const Attend *op, const float *q, const float *q_scales,
                   Scratch own, int64_t lane, int64_t block, const int8_t *soon) {
    const int64_t size = op->size, capacity = op->capacity, ldq = op->q_stride;
    if (PRECISION == F32) {
        const float *keys = (const float *)op->keys + lane * capacity * size + block * size * LANES;
        v16f acc[8];
        UNROLL for (int i = 0; i < QR * KB; i++) acc[i] = splat(0.0f);
        for (int64_t d = 0; d < size; d++)
            UNROLL for (int b = 0; b < KB; b++) {
                v16f k = LOAD(v16f, keys + (b * size + d) * LANES);
                UNROLL for (int r = 0; r < QR; r++) acc[r * KB + b] = fma16(splat(q[r * ldq + d]), k, acc[r * KB + b]);
            }
        UNROLL for (int b = 0; b < KB; b++)
            UNROLL for (int r = 0; r < QR; r++)
                STORE(own.scores + r * capacity + (block + b) * LANES, acc[r * KB + b] * splat(op->scale));
    } else {
        const int8_t *keys = (const int8_t *)op->keys + lane * capacity * size + block * size * LANES;
        const float *scales = op->scales + lane * 2 * capacity + block * LANES;
        v16i acc[8];
        UNROLL for (int i = 0; i < QR * KB; i++) acc[i] = splati(0);
        for (int64_t d = 0; d < size; d += 2) {
            if (KB * d % 4 == 0)
                UNROLL for (int line = 0; line < 2 * KB * LANES; line += 64) FETCH(soon + KB * d * LANES + line);
            UNROLL for (int b = 0; b < KB; b++) {
                v32h k = widen(I8, keys + (b * size + d) * LANES);
                UNROLL for (int r = 0; r < QR; r++)
                    acc[r * KB + b] = dot_pairs(acc[r * KB + b], k, pair(own.query + r * size + d));
            }
        }
        UNROLL for (int b = 0; b < KB; b++)
            UNROLL for (int r = 0; r < QR; r++)
                STORE(own.scores + r * capacity + (block + b) * LANES,
                      FLOAT(acc[r * KB + b]) * (LOAD(v16f, scales + b * LANES) * splat(q_scales[r])));
    }
}
/* Sums of values, VB times 16 of them, weighted for QR queries. */
INLINE void weighted(const int QR, const int VB, const int PRECISION, const Attend *op, const float *w_scales, Scratch own,
                     int64_t lane, int64_t keys, int64_t part, v16f *acc) {
    const int64_t padded = UP(op->size, LANES), capacity = op->capacity;
    UNROLL for (int i = 0; i < QR * VB; i++) acc[i] = splat(0.0f);
    if (PRECISION == F32) {
        const float *values = (const float *)op->values + lane * capacity * padded + part * LANES;
        for (int64_t t = 0; t < keys; t++)
            UNROLL for (int b = 0; b < VB; b++) {
                v16f v = LOAD(v16f, values + t * padded + b * LANES);
                UNROLL for (int r = 0; r < QR; r++)
                    acc[r * VB + b] = fma16(splat(own.scores[r * capacity + t]), v, acc[r * VB + b]);
            }
    } else {
        const int8_t *values = (const int8_t *)op->values + lane * capacity * padded + part * 2 * LANES;
        for (int64_t from = 0; from < keys; from += SEGMENT) {
            const int64_t to = from + SEGMENT < keys ? from + SEGMENT : keys;
            v16i sum[16];
            UNROLL for (int i = 0; i < QR * VB; i++) sum[i] = splati(0);
            for (int64_t t = from; t < to; t += 2)
                UNROLL for (int b = 0; b < VB; b++) {
                    v32h v = widen(I8, values + t * padded + b * 2 * LANES);
                    UNROLL for (int r = 0; r < QR; r++)
                        sum[r * VB + b] = dot_pairs(sum[r * VB + b], v, pair(own.weights + r * capacity + t));
                }
            UNROLL for (int i = 0; i < QR * VB; i++) acc[i] = fma16(FLOAT(sum[i]), splat(w_scales[i / VB]), acc[i]);
        }
    }
}
/* Turn scores into weights: exponentials here, and over an I8 cache times the scales of the values and quantised.
 * Return their scale, and what to multiply their sums by. */
INLINE float softmax(const int PRECISION, const Attend *op, int64_t lane, int64_t query, int64_t keys, int64_t blocks,
                     float *s, int16_t *weights, float *inverse) {
    const int64_t sequence = lane / op->heads, head = lane % op->heads;
    if (op->bias) {
        const float *bias = op->bias +
            ((sequence % op->biases * op->heads + head) * op->queries + query) * op->bias_stride;
        for (int64_t i = 0; i < keys; i += LANES)
            store_part(s + i, load_part(s + i, keys - i) + load_part(bias + i, keys - i), keys - i);
    }
    for (int64_t i = keys; i < blocks * LANES; i++) s[i] = -INFINITY;
    v16f top = splat(-INFINITY), sum = splat(0.0f);
    for (int64_t i = 0; i < blocks * LANES; i += LANES) top = max16(top, LOAD(v16f, s + i));
    v16f shift = splat(max_lanes(top));
    for (int64_t i = 0; i < blocks * LANES; i += LANES) {
        v16f raw = LOAD(v16f, s + i), e = exp16(raw - shift);
        e = select16((v16i)(raw == splat(-INFINITY)), splat(0.0f), e + raw * splat(0.0f));
        sum += e;
        if (PRECISION == I8) e *= LOAD(v16f, op->scales + (lane * 2 + 1) * op->capacity + i);
        STORE(s + i, e);
    }
    *inverse = keys ? 1.0f / sum_lanes(sum) : 0.0f;
    return PRECISION == I8 ? quantise(s, weights, blocks * LANES) : 1.0f;
}
INLINE void attend_queries(const int QR, const int PRECISION, const Attend *op, int64_t sequence, int64_t head,
                           int64_t query, int64_t old, Scratch own) {
    const int64_t size = op->size, parts = UP(size, LANES) / LANES, heads = op->heads, capacity = op->capacity;
    const int64_t lane = sequence * heads + head, queries = op->queries, all = old + op->new_keys;
    const float *q = op->q + (sequence * queries + query) * op->q_stride + head * size;
    float *out = op->y + (sequence * queries + query) * op->y_stride + head * size;
    int64_t keys[4], most = 0;
    float scales[4] = {0}, inverse[4];
    for (int r = 0; r < QR; r++) {
        keys[r] = op->causal ? old + query + r + 1 : all;
        most = keys[r] > most ? keys[r] : most;
        if (PRECISION == I8) scales[r] = quantise(q + r * op->q_stride, own.query + r * size, size) * op->scale;
    }
    const int64_t blocks = (most + LANES - 1) / LANES;
    const int8_t *soon = keys_of(op, lane).at + NEAR;
    const int64_t bytes = LANES * size; /* of a block in an I8 cache: no other is fetched ahead */
    int64_t block = 0;
    if (QR == 1)
        for (; block + 4 <= blocks; block += 4)
            scores(1, 4, PRECISION, op, q, scales, own, lane, block, soon + block * bytes);
    for (; block + 2 <= blocks; block += 2)
        scores(QR, 2, PRECISION, op, q, scales, own, lane, block, soon + block * bytes);
    for (; block < blocks; block++)
        scores(QR, 1, PRECISION, op, q, scales, own, lane, block, soon + block * bytes);
    for (int r = 0; r < QR; r++)
        scales[r] = softmax(PRECISION, op, lane, query + r, keys[r], blocks, own.scores + r * capacity,
                            own.weights + r * capacity, inverse + r);
    for (int64_t part = 0; part < parts;) {
        v16f acc[16];
        int wide = parts - part >= 4 ? 4 : 1;
        if (wide == 4) weighted(QR, 4, PRECISION, op, scales, own, lane, most, part, acc);
        else weighted(QR, 1, PRECISION, op, scales, own, lane, most, part, acc);
        for (int r = 0; r < QR; r++)
            for (int b = 0; b < wide; b++)
                store_part(out + r * op->y_stride + (part + b) * LANES, acc[r * wide + b] * splat(inverse[r]),
                           size - (part + b) * LANES);
        part += wide;
    }
}
#define PARTS 4 /* vectors of a value */
/* Whether an item is one query whose values are summed while the scores of the next item are computed: so keys and values
 * are read side by side, which takes 0.9 of the time that one after the other does. */
INLINE int paired(const Attend *op) {
    return op->precision == I8 && op->queries == 1 && UP(op->size, LANES) == PARTS * LANES;
}
/* Scores of an item against its keys, `blocks` of them or none, and the result of the one that is held, if there is one.
 * What comes next is fetched, keys from `next` on and the item's own values. */
static void pair_up(const Attend *op, int64_t item, int64_t blocks, float scale, Scratch own, Held held, Stream next) {
    const int64_t size = op->size, capacity = op->capacity, before = held.item >= 0 ? held.blocks : 0;
    const int64_t key_bytes = blocks * LANES * size, value_bytes = before * LANES * PARTS * LANES;
    const Stream here = keys_of(op, item), there = keys_of(op, before ? held.item : item);
    const int8_t *keys = here.at, *values = there.at + there.apart, *own_values = here.at + here.apart;
    const int8_t *next_keys = next.at ? next.at : keys;
    const float *scales = op->scales + item * 2 * capacity;
    const int16_t *weights = own.weights + held.set * capacity;
    v16f acc[PARTS];
    v16i sum[PARTS];
    UNROLL for (int b = 0; b < PARTS; b++) acc[b] = splat(0.0f), sum[b] = splati(0);
    for (int64_t block = 0; block < blocks || block < before; block++) {
        if (block < blocks) {
            const int64_t ahead = block * LANES * size + NEAR;
            const int8_t *soon = ahead < key_bytes ? keys + ahead : next_keys + ahead - key_bytes;
            FETCH(scales + block * LANES + NEAR / size);
            FETCH(scales + capacity + block * LANES);
            scores(1, 1, I8, op, NULL, &scale, own, item, block, soon);
        }
        if (block >= before) continue;
        const int64_t ahead = block * LANES * PARTS * LANES + NEAR;
        const int8_t *soon = ahead < value_bytes ? values + ahead : own_values + ahead - value_bytes;
        const int64_t end = (block + 1) * LANES;
        for (int64_t t = block * LANES; t < end; t += 2, soon += 2 * PARTS * LANES) {
            UNROLL for (int line = 0; line < 2 * PARTS * LANES; line += 64) FETCH(soon + line);
            const v16i w = pair(weights + t);
            UNROLL for (int b = 0; b < PARTS; b++)
                sum[b] = dot_pairs(sum[b], widen(I8, values + t * PARTS * LANES + b * 2 * LANES), w);
        }
        if (end % SEGMENT && block + 1 < before) continue;
        UNROLL for (int b = 0; b < PARTS; b++) {
            acc[b] = fma16(FLOAT(sum[b]), splat(held.scale), acc[b]);
            sum[b] = splati(0);
        }
    }
    if (held.item < 0) return;
    float *out = op->y + held.item / op->heads * op->y_stride + held.item % op->heads * size;
    UNROLL for (int b = 0; b < PARTS; b++)
        store_part(out + b * LANES, acc[b] * splat(held.inverse), size - b * LANES);
}
INLINE Scratch attend_own(const Attend *op, void *own) {
    Scratch scratch = {own, (int16_t *)((float *)own + 4 * op->capacity), NULL};
    scratch.query = scratch.weights + 4 * op->capacity;
    return scratch;
}
static void attend_item(const Attend *op, int64_t item, Turn *turn) {
    const int64_t sequence = item / op->heads, head = item % op->heads, queries = op->queries, size = op->size;
    const int64_t old = op->lengths[sequence];
    const Scratch own = attend_own(op, turn->own);
    if (op->new_keys) append(op, sequence, head, old);
    if (paired(op)) {
        const int64_t keys = op->causal ? old + 1 : old + op->new_keys;
        Held now = {item, (keys + LANES - 1) / LANES, 0.0f, 0.0f, turn->held.item >= 0 && !turn->held.set};
        const float scale = quantise(op->q + sequence * op->q_stride + head * size, own.query, size) * op->scale;
        pair_up(op, item, now.blocks, scale, own, turn->held, turn->next);
        if (item + 1 < op->sequences * op->heads) expect(op, item + 1);
        now.scale = softmax(I8, op, item, 0, keys, now.blocks, own.scores, own.weights + now.set * op->capacity,
                            &now.inverse);
        turn->held = now;
        return;
    }
    int64_t query = 0;
    if (op->precision == F32) {
        for (; query + 4 <= queries; query += 4) attend_queries(4, F32, op, sequence, head, query, old, own);
        for (; query < queries; query++) attend_queries(1, F32, op, sequence, head, query, old, own);
    } else {
        for (; query + 4 <= queries; query += 4) attend_queries(4, I8, op, sequence, head, query, old, own);
        for (; query < queries; query++) attend_queries(1, I8, op, sequence, head, query, old, own);
    }
}
/* What a thread has left over after its last item. */
static void attend_rest(const Attend *op, Turn turn) {
    if (turn.held.item >= 0) pair_up(op, turn.held.item, 0, 0.0f, attend_own(op, turn.own), turn.held, turn.next);
}

/* ---- Unary ----------------------------------------------------------------------------------------------- */

/* y[i] = act(x[i]) */
typedef struct {
    int64_t kind;
    int64_t count;
    int64_t activation;
    const float *x; /* [count] */
    float *y;       /* [count]; may be x */
} Unary;

#define CHUNK 16384
static void unary_item(const Unary *op, int64_t item) {
    int64_t to = (item + 1) * CHUNK < op->count ? (item + 1) * CHUNK : op->count;
    for (int64_t i = item * CHUNK; i < to; i += LANES)
        store_part(op->y + i, activate(op->activation, load_part(op->x + i, to - i)), to - i);
}

/* ---- Lstm ------------------------------------------------------------------------------------------------ */

/* The recurrent half of an LSTM layer: at each step
 *   i, f, g, o = gates + h R^T
 *   c = sigmoid(f) c + sigmoid(i) tanh(g)
 *   y = h = sigmoid(o) tanh(c)
 * The gates are input, forget, cell, output as in PyTorch. */
typedef struct {
    int64_t kind;
    int64_t steps, sequences;
    int64_t units;         /* a multiple of 16 */
    int64_t int16;         /* whether R is int16, with scales, or else float */
    const float *gates;    /* [steps][sequences][units / 16][4][16]: from the input, biases included */
    const void *recurrent; /* R [units / 16][4][units][16] */
    const float *scales;   /* [units / 16][4][16], or NULL */
    const float *hidden;   /* h before the first step [sequences][units] */
    float *cell;           /* c [sequences][units], replaced by that after the last step */
    float *y;              /* [steps][sequences][units] */
} Lstm;

/* One phase a step. The weights are read once for all sequences: they do not fit in a core's cache, and reading them
 * is what takes the time. */
INLINE void lstm_rows(const int MR, const int INT16, const Lstm *op, int64_t step, int64_t item, int64_t row) {
    const int AT_ONCE = ROWS == 8 || MR == 1 ? 4 : 4 / MR; /* gates whose sums the registers hold */
    const int64_t units = op->units, sequences = op->sequences;
    float *y = op->y + (step * sequences + row) * units;
    const float *before = step ? y - sequences * units : op->hidden + row * units;
    v16f gates[4 * 4];
    for (int first = 0; first < 4; first += AT_ONCE) {
        const int64_t from = (item * 4 + first) * units * LANES;
        v16f acc[4 * 4];
        for (int i = 0; i < MR * AT_ONCE; i++) acc[i] = splat(0.0f);
        for (int64_t k = 0; k < units; k++)
            for (int g = 0; g < AT_ONCE; g++) {
                const int64_t at = from + (g * units + k) * LANES;
                if (INT16) __builtin_prefetch((const int8_t *)((const int16_t *)op->recurrent + at) + SOON);
                v16f w = INT16 ? FLOAT(LOAD(v16h, (const int16_t *)op->recurrent + at))
                               : LOAD(v16f, (const float *)op->recurrent + at);
                for (int r = 0; r < MR; r++)
                    acc[r * AT_ONCE + g] = fma16(splat(before[r * units + k]), w, acc[r * AT_ONCE + g]);
            }
        for (int g = 0; g < AT_ONCE; g++)
            for (int r = 0; r < MR; r++) {
                const int64_t gate = item * 4 + first + g;
                const float *input = op->gates + (step * sequences + row + r) * 4 * units;
                v16f sum = acc[r * AT_ONCE + g];
                if (INT16) sum *= LOAD(v16f, op->scales + gate * LANES);
                gates[r * 4 + first + g] = sum + LOAD(v16f, input + gate * LANES);
            }
    }
    for (int r = 0; r < MR; r++) {
        const v16f *gate = gates + r * 4;
        float *cell = op->cell + (row + r) * units + item * LANES;
        v16f c = fma16(sigmoid16(gate[1]), LOAD(v16f, cell), sigmoid16(gate[0]) * tanh16(gate[2]));
        STORE(cell, c);
        STORE(y + r * units + item * LANES, sigmoid16(gate[3]) * tanh16(c));
    }
}
static void lstm_item(const Lstm *op, int64_t step, int64_t item) {
    int64_t row = 0, sequences = op->sequences;
#define LSTM_ROWS(mr) \
    for (; row + mr <= sequences; row += mr) { \
        if (op->int16) lstm_rows(mr, 1, op, step, item, row); \
        else lstm_rows(mr, 0, op, step, item, row); \
    }
    LSTM_ROWS(4) LSTM_ROWS(2) LSTM_ROWS(1)
}

/* ---- Gather ---------------------------------------------------------------------------------------------- */

/* y[i] = x[index[i]], row by row */
typedef struct {
    int64_t kind;
    int64_t rows, width;
    int64_t x_stride, y_stride;
    const float *x;       /* [any][width] */
    const int32_t *index; /* [rows] */
    float *y;             /* [rows][width] */
} Gather;

#define GATHERED 32 /* rows of an item */
static void gather_item(const Gather *op, int64_t item) {
    int64_t to = (item + 1) * GATHERED < op->rows ? (item + 1) * GATHERED : op->rows;
    for (int64_t i = item * GATHERED; i < to; i++)
        memcpy(op->y + i * op->y_stride, op->x + op->index[i] * op->x_stride,
               op->width * sizeof(float));
}

/* ---- Probe ----------------------------------------------------------------------------------------------- */

/* What the machine can do at best, which benchmarks hold the operations against: read `bytes`, and compute dot products
 * of pairs, each of 16 lanes. The sums are only there so that nothing is left out. */
typedef struct {
    int64_t kind;
    int64_t bytes;       /* to read, a multiple of PROBED */
    int64_t dots;        /* to compute, a multiple of PROBED */
    const int8_t *data;  /* [the larger of bytes and PROBED] */
    int32_t *sums;       /* [(bytes + dots) / PROBED] */
} Probe;

#define PROBED (1 << 18) /* bytes or dots of an item */
#define PROBE_AHEAD 2048 /* where reading and nothing else is fastest */
static void probe_item(const Probe *op, int64_t item) {
    v16i sum[ROWS];
    for (int r = 0; r < ROWS; r++) sum[r] = splati(0);
    if (item < op->bytes / PROBED) {
        const int8_t *at = op->data + item * PROBED;
        for (int64_t i = 0; i < PROBED; i += 64 * ROWS)
            UNROLL for (int r = 0; r < ROWS; r++) {
                sum[r] += LOAD(v16i, at + i + 64 * r);
                FETCH(at + i + 64 * r + PROBE_AHEAD);
            }
    } else {
        v16i x[ROWS];
        for (int r = 0; r < ROWS; r++) x[r] = LOAD(v16i, op->data + 64 * r);
        for (int64_t i = 0; i < PROBED; i += ROWS) {
            v32h w = LOAD(v32h, op->data + 64 * (i & 63)); /* a tile of weights */
            UNROLL for (int r = 0; r < ROWS; r++) sum[r] = dot_pairs(sum[r], w, x[r]);
        }
    }
    for (int r = 1; r < ROWS; r++) sum[0] += sum[r];
    memcpy(op->sums + item, sum, sizeof *op->sums);
}

/* ---- Running ---------------------------------------------------------------------------------------------- */

typedef union {
    int64_t kind; /* with which every structure begins */
    Linear linear;
    Norm norm;
    Attend attend;
    Unary unary;
    Lstm lstm;
    Gather gather;
    Probe probe;
} Op;

static int64_t phases(const Op *op) {
    switch (op->kind) {
        case LINEAR: return shared(&op->linear) ? 2 : 1;
        case LSTM: return op->lstm.steps;
        default: return 1;
    }
}
static int64_t items(const Op *op, int64_t phase) {
    switch (op->kind) {
        case LINEAR: return linear_items(&op->linear, phase);
        case NORM: return op->norm.rows;
        case ATTEND: return op->attend.sequences * op->attend.heads;
        case UNARY: return (op->unary.count + CHUNK - 1) / CHUNK;
        case LSTM: return op->lstm.units / LANES;
        case GATHER: return (op->gather.rows + GATHERED - 1) / GATHERED;
        case PROBE: return (op->probe.bytes + op->probe.dots) / PROBED;
    }
    return 0;
}
static void item(const Op *op, int64_t phase, int64_t item, Turn *turn) {
    switch (op->kind) {
        case LINEAR: linear_item(&op->linear, phase, item, *turn); break;
        case NORM: norm_row(&op->norm, item); break;
        case ATTEND: attend_item(&op->attend, item, turn); break;
        case UNARY: unary_item(&op->unary, item); break;
        case LSTM: lstm_item(&op->lstm, phase, item); break;
        case GATHER: gather_item(&op->gather, item); break;
        case PROBE: probe_item(&op->probe, item); break;
    }
}

/* ---- Threads ------------------------------------------------------------------------------------------- */

#define MOST_THREADS 64
typedef struct {
    _Alignas(64) int spins; /* looks of a thread that waits, before it sleeps */
    unsigned waits;
} Patience;
typedef struct {
    int threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    const Op *const *ops;
    int64_t count;
    atomic_long call; /* counts engine_run; workers wait for it to move, until the process ends */
    struct { _Alignas(64) atomic_long next; } shares[2][MOST_THREADS]; /* items that are taken of each thread's share */
    atomic_int arrived;
    atomic_int sleeping; /* threads that `wake` has to wake */
    atomic_long phase;
    void *shared; /* see Turn */
    size_t shared_size;
    void *own[MOST_THREADS];
    Patience patience[MOST_THREADS];
    size_t own_size;
} Pool;

#define SPINS 2000 /* looks before a thread sleeps: longer than most phases take from when the first has no item left */
#define FEWEST 32
/* Wait until a counter is no longer what it was: spin, then sleep. Where spinning was for nothing, as the other one has no
 * processor or shares ours, a thread spins less the next time; now and then it tries again. */
static void wait_for(Pool *pool, int thread, atomic_long *counter, long seen) {
    Patience *patience = &pool->patience[thread];
    const int limit = ++patience->waits % 32 ? patience->spins : SPINS;
    for (int spins = 0; spins < limit; spins++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != seen) {
            patience->spins = SPINS;
            return;
        }
#if defined(__x86_64__)
        _mm_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    if (counter == &pool->phase) patience->spins = patience->spins / 4 > FEWEST ? patience->spins / 4 : FEWEST;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1); /* before the last look: so either it sees the change, or is seen */
    while (atomic_load(counter) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
}
static void move_on(Pool *pool, atomic_long *counter, long to) {
    atomic_store(counter, to);
    if (!atomic_load(&pool->sleeping)) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}
/* The end of a phase for everybody; the last one makes the counter of the phase after the next ready. */
static void barrier(Pool *pool, int thread, long *phase) {
    long now = *phase;
    if (atomic_fetch_add(&pool->arrived, 1) == pool->threads - 1) {
        atomic_store(&pool->arrived, 0);
        for (int i = 0; i < pool->threads; i++) atomic_store(&pool->shares[now & 1][i].next, 0);
        move_on(pool, &pool->phase, now + 1);
    } else
        wait_for(pool, thread, &pool->phase, now);
    *phase = now + 1;
}
/* The first item of a thread's share of `many`. */
INLINE int64_t first_of(int64_t many, int thread, int threads) { return many * thread / threads; }
/* What a thread reads first in an operation. */
static Stream start_of(const Op *op, int64_t item) {
    if (op->kind == LINEAR) return stream_of(&op->linear, item);
    return keys_of(&op->attend, item);
}
static void work(Pool *pool, int thread) {
    long phase = atomic_load(&pool->phase);
    /* After the last barrier the next call may begin: nothing of the pool but its counters is looked at again. */
    const Op *const *ops = pool->ops;
    const int threads = pool->threads;
    for (int64_t i = 0, count = pool->count; i < count; i++) {
        const Op *op = ops[i];
        const int reads = op->kind == LINEAR || op->kind == ATTEND;
        Turn turn = {pool->shared, pool->own[thread], 0, {NULL, 0}, {.item = -1}};
        Stream following = {NULL, 0};
        for (int64_t j = i + 1; j < count && !following.at; j++)
            if (ops[j]->kind == LINEAR || ops[j]->kind == ATTEND)
                following = start_of(ops[j], first_of(items(ops[j], phases(ops[j]) - 1), thread, threads));
        for (int64_t part = 0, parts = phases(op); part < parts; part++) {
            const int64_t many = items(op, part);
            turn.begun = 0;
            /* Its own share first, in the order of memory; then what the others have left of theirs. */
            for (int j = 0; j < threads; j++) {
                const int whose = (thread + j) % threads;
                const int64_t first = first_of(many, whose, threads), end = first_of(many, whose + 1, threads);
                int64_t mine;
                while ((mine = first + atomic_fetch_add(&pool->shares[phase & 1][whose].next, 1)) < end) {
                    turn.next = reads && mine + 1 < end ? start_of(op, mine + 1) : following;
                    /* There and back: a step of an LSTM begins with the weights that the one before read last. */
                    item(op, part, op->kind == LSTM && part % 2 ? first + end - 1 - mine : mine, &turn);
                    turn.begun = 1;
                }
            }
            if (op->kind == ATTEND) attend_rest(&op->attend, turn);
            barrier(pool, thread, &phase);
        }
    }
}

typedef struct { Pool *pool; int thread; } Start;
static void *worker(void *given) {
    Start start = *(Start *)given;
    free(given);
    Pool *pool = start.pool;
    for (long seen = 0;;) {
        wait_for(pool, start.thread, &pool->call, seen);
        seen = atomic_load(&pool->call);
        work(pool, start.thread);
    }
}

Pool *engine_open(int threads) {
    Pool *pool = aligned_alloc(64, sizeof *pool);
    if (pool) memset(pool, 0, sizeof *pool);
    if (!pool || threads < 1 || threads > MOST_THREADS) { free(pool); return NULL; }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = 1;
    for (int i = 0; i < threads; i++) pool->patience[i].spins = SPINS;
    for (int i = 1; i < threads; i++) {
        Start *start = malloc(sizeof *start);
        *start = (Start){pool, i};
        pthread_t handle;
        if (pthread_create(&handle, NULL, worker, start)) { free(start); break; }
        pool->threads++;
    }
    return pool;
}
const char *engine_version(void) { return VERSION; }

/* 0, or -1 where there is no memory for scratch. One call at a time. */
int engine_run(Pool *pool, const Op *const *ops, int64_t count) {
    size_t rows = 0, own = 0;
    for (int64_t i = 0; i < count; i++) {
        const Op *op = ops[i];
        if (op->kind == LINEAR && shared(&op->linear) && linear_scratch(&op->linear) > rows) rows = linear_scratch(&op->linear);
        if (op->kind == LINEAR && linear_own(&op->linear) > own) own = linear_own(&op->linear);
        if (op->kind == ATTEND && attend_scratch(&op->attend) > own) own = attend_scratch(&op->attend);
    }
    if (rows > pool->shared_size) {
        free(pool->shared);
        pool->shared = aligned_alloc(64, UP(rows, 64));
        pool->shared_size = pool->shared ? rows : 0;
        if (!pool->shared) return -1;
    }
    if (own > pool->own_size) {
        pool->own_size = 0;
        for (int i = 0; i < pool->threads; i++) {
            free(pool->own[i]);
            if (!(pool->own[i] = aligned_alloc(64, UP(own, 64)))) return -1;
        }
        pool->own_size = own;
    }
    pool->ops = ops;
    pool->count = count;
    move_on(pool, &pool->call, atomic_load(&pool->call) + 1);
    work(pool, 0);
    return 0;
}
