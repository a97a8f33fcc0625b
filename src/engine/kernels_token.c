/* What transformers need beside products: layer norm, activations, softmax.
 *
 * exp is Cephes' polynomial (Moshier), within 2 units in the last place; erf is Abramowitz &
 * Stegun 7.1.26, within 1.5e-7. */
#include "engine/kernels_token.h"
#include "engine/kernels_vec.h"

#include <math.h>

void KERNEL(gemm)(const struct kernel_gemm *);
void KERNEL(gemm_pack)(unsigned, unsigned, const float *, size_t, size_t, float *);
size_t KERNEL(gemm_floats)(unsigned, unsigned);

INLINE vec vec_all(float x)
{
  return x - (vec){0};
}

INLINE vec vec_select(ivec mask, vec a, vec b)
{
  return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

INLINE vec vec_max(vec a, vec b)
{
  return vec_select(b > a, b, a);
}

/* Always halves first, so that each instruction set has one order. */
#if defined KERNEL_AVX512 || defined KERNEL_AVX2
INLINE float vec_sum(vec v)
{
#if defined KERNEL_AVX512
  const __m512d all = (__m512d)v;
  const __m256 eight =
      (__m256)_mm512_castpd512_pd256(all) + (__m256)_mm512_extractf64x4_pd(all, 1);
#else
  const __m256 eight = (__m256)v;
#endif
  const __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1);
  const __m128 two = four + _mm_movehl_ps(four, four);
  return two[0] + two[1];
}
#else
INLINE float vec_sum(vec v)
{
  return (v[0] + v[2]) + (v[1] + v[3]);
}
#endif

/* A NaN stays one. */
INLINE vec vec_exp(vec x)
{
  const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the whole number below */
  x = vec_select(x < -87.0f, vec_all(-87), vec_select(x > 88.0f, vec_all(88), x));
  const vec t = x * 1.44269504f + round, n = t - round;
  const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = vec_all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  return (vec)((ivec)p + (((ivec)t - (ivec)vec_all(round)) << 23));
}

/* ---- activations ---- */

/* y = act(u), slope = act'(u) */
INLINE vec gelu_tanh(vec u, vec *slope)
{
  const float a = 0.7978845608f, b = 0.044715f; /* sqrt(2 / pi) */
  const vec square = u * u, z = a * u * (1 + b * square);
  const vec t = 1 - 2 / (vec_exp(2 * z) + 1); /* tanh(z) */
  *slope = 0.5f * (1 + t) + 0.5f * a * u * (1 - t * t) * (1 + 3 * b * square);
  return 0.5f * u * (1 + t);
}

INLINE vec gelu_erf(vec u, vec *slope)
{
  const vec z = vec_select(u < 0.0f, -u, u) * 0.7071067812f;
  const vec t = 1 / (1 + 0.3275911f * z), e = vec_exp(-z * z);
  vec p = vec_all(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const vec tail = 0.5f * p * t * e, phi = vec_select(u < 0.0f, tail, 1 - tail);
  *slope = phi + u * e * 0.3989422804f; /* 1 / sqrt(2 pi) */
  return u * phi;
}

INLINE vec quick_gelu(vec u, vec *slope)
{
  const vec s = 1 / (1 + vec_exp(-1.702f * u));
  *slope = s + 1.702f * u * s * (1 - s);
  return u * s;
}

INLINE vec relu(vec u, vec *slope)
{
  *slope = vec_select(u > 0.0f, vec_all(1), vec_all(0));
  return vec_select(u <= 0.0f, vec_all(0), u);
}

INLINE vec activation(vec u, enum kernel_act act, vec *slope)
{
  switch (act) {
  case KERNEL_GELU_TANH:
    return gelu_tanh(u, slope);
  case KERNEL_GELU:
    return gelu_erf(u, slope);
  case KERNEL_QUICK_GELU:
    return quick_gelu(u, slope);
  case KERNEL_RELU:
    return relu(u, slope);
  case KERNEL_IDENTITY:
    break;
  }
  *slope = vec_all(1);
  return u;
}

/* Loads and stores the part of a vector that is there. */
INLINE vec load_part(const float *p, unsigned n)
{
  float lanes[LANES] = {0};
  for (unsigned i = 0; i < n; i++)
    lanes[i] = p[i];
  return vec_load(lanes);
}

INLINE void store_part(float *p, vec v, unsigned n)
{
  float lanes[LANES];
  vec_store(lanes, v);
  for (unsigned i = 0; i < n; i++)
    p[i] = lanes[i];
}

INLINE void act_rows(size_t rows, unsigned c, const float *bias, const enum kernel_act act,
                     float *y, float *slopes)
{
  for (size_t r = 0; r < rows; r++, y += c) {
    vec slope;
    unsigned i = 0;
    for (; i + LANES <= c; i += LANES) {
      vec_store(y + i, activation(vec_load(y + i) + vec_load(bias + i), act, &slope));
      if (slopes)
        vec_store(slopes + i, slope);
    }
    if (i < c) {
      store_part(y + i,
                 activation(load_part(y + i, c - i) + load_part(bias + i, c - i), act, &slope),
                 c - i);
      if (slopes)
        store_part(slopes + i, slope, c - i);
    }
    slopes = slopes ? slopes + c : NULL;
  }
}

static void act(size_t rows, unsigned c, const float *bias, enum kernel_act act, float *y,
                float *slope)
{
  switch (act) {
  case KERNEL_GELU_TANH:
    act_rows(rows, c, bias, KERNEL_GELU_TANH, y, slope);
    break;
  case KERNEL_GELU:
    act_rows(rows, c, bias, KERNEL_GELU, y, slope);
    break;
  case KERNEL_QUICK_GELU:
    act_rows(rows, c, bias, KERNEL_QUICK_GELU, y, slope);
    break;
  case KERNEL_RELU:
    act_rows(rows, c, bias, KERNEL_RELU, y, slope);
    break;
  case KERNEL_IDENTITY:
    act_rows(rows, c, bias, KERNEL_IDENTITY, y, slope);
    break;
  }
}

static void add_rows(size_t rows, unsigned c, const float *bias, const float *residual, float *y)
{
  for (size_t r = 0; r < rows; r++, y += c, residual += c) {
    unsigned i = 0;
    for (; i + LANES <= c; i += LANES)
      vec_store(y + i, vec_load(y + i) + vec_load(bias + i) + vec_load(residual + i));
    for (; i < c; i++)
      y[i] = y[i] + bias[i] + residual[i];
  }
}

static void add_scaled(size_t rows, unsigned c, const float *bias, const float *scale,
                       const float *residual, float *y)
{
  for (size_t r = 0; r < rows; r++, y += c, residual += c) {
    unsigned i = 0;
    for (; i + LANES <= c; i += LANES)
      vec_store(y + i, (vec_load(y + i) + vec_load(bias + i)) * vec_load(scale + i) +
                           vec_load(residual + i));
    for (; i < c; i++)
      y[i] = (y[i] + bias[i]) * scale[i] + residual[i];
  }
}

static void scale(size_t rows, unsigned c, const float *scale, const float *dy, float *to)
{
  for (size_t r = 0; r < rows; r++, dy += c, to += c) {
    unsigned i = 0;
    for (; i + LANES <= c; i += LANES)
      vec_store(to + i, vec_load(dy + i) * vec_load(scale + i));
    for (; i < c; i++)
      to[i] = dy[i] * scale[i];
  }
}

static void slope(size_t rows, unsigned c, size_t row, const float *slope, float *dy, float *sum)
{
  unsigned i = 0;
  for (; i + LANES <= c; i += LANES) {
    vec s[2] = {{0}};
    for (size_t r = 0; r < rows; r++) {
      vec v = vec_load(dy + r * row + i);
      if (slope) {
        v *= vec_load(slope + r * row + i);
        vec_store(dy + r * row + i, v);
      }
      s[r & 1] += v;
    }
    vec_store(sum + i, vec_load(sum + i) + (s[0] + s[1]));
  }
  for (; i < c; i++) {
    float s = 0;
    for (size_t r = 0; r < rows; r++) {
      if (slope)
        dy[r * row + i] *= slope[r * row + i];
      s += dy[r * row + i];
    }
    sum[i] += s;
  }
}

/* ---- layer norm ---- */

/* The mean is taken away before squaring, so that a large one cancels nothing. */
INLINE void row_moments(const float *x, unsigned c, float *mean, float *var)
{
  const unsigned whole = c - c % LANES;
  vec s = {0};
  float rest = 0;
  for (unsigned i = 0; i < whole; i += LANES)
    s += vec_load(x + i);
  for (unsigned i = whole; i < c; i++)
    rest += x[i];
  const float m = (vec_sum(s) + rest) / (float)c;
  vec q = {0};
  rest = 0;
  for (unsigned i = 0; i < whole; i += LANES) {
    const vec d = vec_load(x + i) - m;
    q += d * d;
  }
  for (unsigned i = whole; i < c; i++)
    rest += (x[i] - m) * (x[i] - m);
  *mean = m;
  *var = (vec_sum(q) + rest) / (float)c;
}

static void layernorm(const struct kernel_layernorm *j, float eps, float *y, float *mean,
                      float *inv_std)
{
  const float *x = j->x;
  for (size_t r = 0; r < j->rows; r++, x += j->c, y += j->c) {
    float m, v;
    row_moments(x, j->c, &m, &v);
    const float inv = 1 / sqrtf(v + eps);
    unsigned i = 0;
    for (; i + LANES <= j->c; i += LANES)
      vec_store(y + i,
                (vec_load(x + i) - m) * inv * vec_load(j->gamma + i) + vec_load(j->beta + i));
    for (; i < j->c; i++)
      y[i] = (x[i] - m) * inv * j->gamma[i] + j->beta[i];
    if (mean) {
      mean[r] = m;
      inv_std[r] = inv;
    }
  }
}

/* With z = (x - mean) inv and g = gamma dy: dx = inv (g - mean(g) - z mean(g z)). */
INLINE void layernorm_row(const struct kernel_layernorm *j, const float *x, float m, float inv,
                          const float *dy, float *dx, bool add)
{
  const unsigned c = j->c, whole = c - c % LANES;
  vec s = {0}, q = {0};
  float sum = 0, product = 0;
  for (unsigned i = 0; i < whole; i += LANES) {
    const vec g = vec_load(dy + i) * vec_load(j->gamma + i);
    s += g;
    q += g * (vec_load(x + i) - m);
  }
  for (unsigned i = whole; i < c; i++) {
    sum += dy[i] * j->gamma[i];
    product += dy[i] * j->gamma[i] * (x[i] - m);
  }
  const float shift = (sum + vec_sum(s)) / (float)c * inv;
  const float tilt = (product + vec_sum(q)) / (float)c * inv * inv * inv;
  for (unsigned i = 0; i < whole; i += LANES) {
    vec v = vec_load(dy + i) * vec_load(j->gamma + i) * inv - shift - (vec_load(x + i) - m) * tilt;
    if (add)
      v += vec_load(dx + i);
    vec_store(dx + i, v);
  }
  for (unsigned i = whole; i < c; i++)
    dx[i] = (add ? dx[i] : 0) + dy[i] * j->gamma[i] * inv - shift - (x[i] - m) * tilt;
}

static void layernorm_sums(const struct kernel_layernorm *j, unsigned count, const float *mean,
                           const float *inv_std, const float *dy, float *dgamma, float *dbeta)
{
  const unsigned c = j->c;
  unsigned i = 0;
  for (; i + LANES <= count; i += LANES) {
    vec s = {0}, q = {0};
    for (size_t r = 0; r < j->rows; r++) {
      const vec g = vec_load(dy + r * c + i);
      s += g;
      q += g * ((vec_load(j->x + r * c + i) - mean[r]) * inv_std[r]);
    }
    vec_store(dbeta + i, vec_load(dbeta + i) + s);
    vec_store(dgamma + i, vec_load(dgamma + i) + q);
  }
  for (; i < count; i++) {
    float s = 0, q = 0;
    for (size_t r = 0; r < j->rows; r++) {
      s += dy[r * c + i];
      q += dy[r * c + i] * ((j->x[r * c + i] - mean[r]) * inv_std[r]);
    }
    dbeta[i] += s;
    dgamma[i] += q;
  }
}

static void layernorm_grad(const struct kernel_layernorm *j, const float *mean,
                           const float *inv_std, const float *dy, float *dx, bool add)
{
  for (size_t r = 0; r < j->rows; r++)
    layernorm_row(j, j->x + r * j->c, mean[r], inv_std[r], dy + r * j->c, dx + r * j->c, add);
}

/* ---- softmax ---- */

INLINE float row_max(const float *s, unsigned n)
{
  float most = s[0];
  unsigned i = 0;
  if (n >= LANES) {
    vec m = vec_load(s);
    for (i = LANES; i + LANES <= n; i += LANES)
      m = vec_max(m, vec_load(s + i));
    float lanes[LANES];
    vec_store(lanes, m);
    for (unsigned k = 0; k < LANES; k++)
      most = lanes[k] > most ? lanes[k] : most;
  }
  for (; i < n; i++)
    most = s[i] > most ? s[i] : most;
  return most;
}

/* to = exp(scale * s - shift), and its sum; to may be s. */
INLINE float row_exp(const float *s, unsigned n, float scale, float shift, float *to)
{
  vec sum[2] = {{0}};
  unsigned i = 0;
  for (; i + LANES <= n; i += LANES) {
    const vec e = vec_exp(vec_load(s + i) * scale - shift);
    vec_store(to + i, e);
    sum[i / LANES & 1] += e;
  }
  float rest = 0;
  if (i < n) {
    float lanes[LANES];
    vec_store(lanes, vec_exp(load_part(s + i, n - i) * scale - shift));
    for (unsigned k = 0; k < n - i; k++) {
      to[i + k] = lanes[k];
      rest += lanes[k];
    }
  }
  return vec_sum(sum[0] + sum[1]) + rest;
}

INLINE void row_scale(float *s, unsigned n, float by)
{
  unsigned i = 0;
  for (; i + LANES <= n; i += LANES)
    vec_store(s + i, vec_load(s + i) * by);
  for (; i < n; i++)
    s[i] *= by;
}

/* A NaN among the logits must show: the largest may miss it, the sum does not. */
static float softmax(unsigned n, const float *s, float scale, float *to)
{
  const float most = row_max(s, n) * scale, sum = row_exp(s, n, scale, most, to);
  row_scale(to, n, 1 / sum);
  return most + logf(sum);
}

static float log_sum(unsigned n, const float *s, float *scratch)
{
  const float most = row_max(s, n);
  return most + logf(row_exp(s, n, 1, most, scratch));
}

static void attention_grad(unsigned n, float *s, float scale, float log_sum, float inner, float *dp)
{
  row_exp(s, n, scale, log_sum, s);
  unsigned i = 0;
  for (; i + LANES <= n; i += LANES)
    vec_store(dp + i, vec_load(s + i) * (vec_load(dp + i) - inner) * scale);
  for (; i < n; i++)
    dp[i] = s[i] * (dp[i] - inner) * scale;
}

static float dot(unsigned n, const float *a, const float *b)
{
  vec s = {0};
  float rest = 0;
  unsigned i = 0;
  for (; i + LANES <= n; i += LANES)
    s += vec_load(a + i) * vec_load(b + i);
  for (; i < n; i++)
    rest += a[i] * b[i];
  return vec_sum(s) + rest;
}

const struct kernels_token KERNEL_TOKEN_TABLE = {
    .panel = PANEL,
    .gemm_floats = KERNEL(gemm_floats),
    .gemm_pack = KERNEL(gemm_pack),
    .gemm = KERNEL(gemm),
    .act = act,
    .add_rows = add_rows,
    .add_scaled = add_scaled,
    .scale = scale,
    .slope = slope,
    .layernorm = layernorm,
    .layernorm_sums = layernorm_sums,
    .layernorm_grad = layernorm_grad,
    .softmax = softmax,
    .log_sum = log_sum,
    .attention_grad = attention_grad,
    .dot = dot,
};
