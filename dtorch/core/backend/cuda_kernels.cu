// Our own CUDA kernels: what neither CuPy nor a library of NVIDIA's computes in one launch.
//
// T is what arrays hold: float, __half or __nv_bfloat16; sums are taken in float.  Nothing is included
// and no library is called, so that NVRTC compiles the text without a GPU, and a C++ compiler runs it
// on a CPU, where the tests compare it with torch.
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

template <typename T> __device__ __forceinline__ float get(T v);
template <typename T> __device__ __forceinline__ T put(float v);
template <> __device__ __forceinline__ float get<float>(float v) { return v; }
template <> __device__ __forceinline__ float put<float>(float v) { return v; }
template <> __device__ __forceinline__ float get<__half>(__half v) { return __half2float(v); }
template <> __device__ __forceinline__ __half put<__half>(float v) { return __float2half(v); }
template <> __device__ __forceinline__ float get<__nv_bfloat16>(__nv_bfloat16 v) { return __bfloat162float(v); }
template <> __device__ __forceinline__ __nv_bfloat16 put<__nv_bfloat16>(float v) { return __float2bfloat16(v); }

// This thread's elements of n: one in gridDim.x * blockDim.x, or one in blockDim.x for a block's own.
#define EACH(i, n) \
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (i64)gridDim.x * blockDim.x)
#define MINE(i, n) for (i64 i = threadIdx.x; i < (n); i += blockDim.x)

// ---- over a block: blockDim.x is a multiple of 32, and every thread calls these -------------------

struct Sum {
  static __device__ __forceinline__ float of(float a, float b) { return a + b; }
  static __device__ __forceinline__ float none() { return 0.f; }
};
// The greater one, and NaN if there is one: fmaxf would lose it.
struct Max {
  static __device__ __forceinline__ float of(float a, float b) { return a > b || a != a ? a : b; }
  static __device__ __forceinline__ float none() { return -INFINITY; }
};

template <typename F> __device__ __forceinline__ float over_warp(float v) {
  for (int o = 16; o > 0; o >>= 1) v = F::of(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

template <typename F> __device__ __forceinline__ float over_block(float v) {
  __shared__ float warps[32];
  int lane = threadIdx.x & 31;
  v = over_warp<F>(v);
  __syncthreads();  // the last call's values have been read
  if (lane == 0) warps[threadIdx.x >> 5] = v;
  __syncthreads();
  return over_warp<F>(lane < (blockDim.x >> 5) ? warps[lane] : F::none());
}

// ---- softmax: a block for each row of n ----------------------------------------------------------

// log(sum(exp(x))) of a row, and the row's maximum.
template <typename T> __device__ __forceinline__ float log_sum_exp(const T* x, i64 n, float* most) {
  float m = -INFINITY, s = 0.f;
  MINE(i, n) m = Max::of(m, get(x[i]));
  m = over_block<Max>(m);
  MINE(i, n) s += expf(get(x[i]) - m);
  *most = m;
  return logf(over_block<Sum>(s));
}

template <typename T, bool LOG> __global__ void softmax(const T* x, T* y, i64 n) {
  x += blockIdx.x * n;
  y += blockIdx.x * n;
  float m, total = log_sum_exp(x, n, &m);
  MINE(i, n) {
    float v = get(x[i]) - m - total;
    y[i] = put<T>(LOG ? v : expf(v));
  }
}

template <typename T, bool LOG> __global__ void softmax_grad(const T* g, const T* y, T* gx, i64 n) {
  g += blockIdx.x * n;
  y += blockIdx.x * n;
  gx += blockIdx.x * n;
  float s = 0.f;
  MINE(i, n) s += LOG ? get(g[i]) : get(g[i]) * get(y[i]);
  s = over_block<Sum>(s);
  MINE(i, n) {
    float v = get(y[i]), d = get(g[i]);
    gx[i] = put<T>(LOG ? d - expf(v) * s : v * (d - s));
  }
}

// ---- cross entropy: a block for each row of n logits ---------------------------------------------

// bad[0] counts targets that are no class: the host looks when it next waits for the GPU.
template <typename T>
__global__ void cross_entropy(const T* x, const i64* target, float* loss, float* lse, i64 n,
                              i64 ignored, int* bad) {
  x += blockIdx.x * n;
  float m, total = log_sum_exp(x, n, &m);
  if (threadIdx.x) return;
  i64 t = target[blockIdx.x];
  bool out = t != ignored && (t < 0 || t >= n);
  if (out) atomicAdd(bad, 1);
  lse[blockIdx.x] = m + total;
  loss[blockIdx.x] = t == ignored ? 0.f : out ? NAN : m + total - get(x[t]);
}

// scale: the gradient of each row's loss, `every` = 1, or of all rows', 0
template <typename T>
__global__ void cross_entropy_grad(const T* x, const i64* target, const float* lse,
                                   const float* scale, T* gx, i64 n, i64 ignored, i64 every) {
  x += blockIdx.x * n;
  gx += blockIdx.x * n;
  i64 t = target[blockIdx.x];
  float total = lse[blockIdx.x], s = scale[blockIdx.x * every];
  MINE(i, n) {
    float p = expf(get(x[i]) - total) - (i == t ? 1.f : 0.f);
    gx[i] = put<T>(t == ignored ? 0.f : s * p);
  }
}

// ---- norms: a block for each set of n elements that share a mean and a variance -------------------

// Where the elements of a set are, and which weight each has.  Rows (layer, RMS, group and instance
// norm) have inner = n; batch norm's channels have inner = the image's size, and step over the others'.
struct Sets {
  i64 n, inner, sets, groups, per_group, run;
  __device__ __forceinline__ i64 at(i64 s, i64 i) const {
    return inner == n ? s * n + i : (i / inner * sets + s) * inner + i % inner;
  }
  __device__ __forceinline__ i64 weight(i64 s, i64 i) const { return s % groups * per_group + i / run; }
};
#define SETS i64 n, i64 inner, i64 sets, i64 groups, i64 per_group, i64 run
#define MAKE_SETS Sets at = {n, inner, sets, groups, per_group, run}

template <typename T, typename W>
__global__ void norm(const T* x, const W* w, const W* b, T* y, float* mean, float* var, SETS,
                     float eps, i64 center) {
  MAKE_SETS;
  i64 s = blockIdx.x;
  float m = 0.f, v = 0.f;
  if (center) {
    MINE(i, n) m += get(x[at.at(s, i)]);
    m = over_block<Sum>(m) / n;
  }
  MINE(i, n) {  // a second pass: nothing cancels
    float d = get(x[at.at(s, i)]) - m;
    v += d * d;
  }
  v = over_block<Sum>(v) / n;
  if (threadIdx.x == 0) {
    mean[s] = m;
    var[s] = v;
  }
  float r = 1.f / sqrtf(v + eps);
  MINE(i, n) {
    i64 k = at.at(s, i), c = at.weight(s, i);
    float z = (get(x[k]) - m) * r;
    if (w) z *= get(w[c]);
    if (b) z += get(b[c]);
    y[k] = put<T>(z);
  }
}

template <typename T, typename W>
__global__ void norm_grad(const T* g, const T* x, const W* w, const float* mean, const float* var,
                          T* gx, SETS, float eps, i64 center) {
  MAKE_SETS;
  i64 s = blockIdx.x;
  float m = mean[s], r = 1.f / sqrtf(var[s] + eps), sum = 0.f, dot = 0.f;
  MINE(i, n) {
    i64 k = at.at(s, i);
    float d = get(g[k]) * (w ? get(w[at.weight(s, i)]) : 1.f);
    sum += d;
    dot += d * (get(x[k]) - m) * r;
  }
  sum = center ? over_block<Sum>(sum) / n : 0.f;
  dot = over_block<Sum>(dot) / n;
  MINE(i, n) {
    i64 k = at.at(s, i);
    float d = get(g[k]) * (w ? get(w[at.weight(s, i)]) : 1.f);
    gx[k] = put<T>((d - sum - (get(x[k]) - m) * r * dot) * r);
  }
}

// The gradients in w and b where a weight has a run of elements: a block for each weight.
template <typename T, typename W>
__global__ void norm_channels(const T* g, const T* x, const float* mean, const float* var, W* gw,
                              W* gb, SETS, float eps) {
  MAKE_SETS;
  i64 group = blockIdx.x / per_group, first = blockIdx.x % per_group * run;
  float sum = 0.f, dot = 0.f;
  MINE(e, sets / groups * run) {
    i64 s = e / run * groups + group, k = at.at(s, first + e % run);
    float d = get(g[k]);
    sum += d;
    dot += d * (get(x[k]) - mean[s]) / sqrtf(var[s] + eps);
  }
  sum = over_block<Sum>(sum);
  dot = over_block<Sum>(dot);
  if (threadIdx.x) return;
  if (gw) gw[blockIdx.x] = put<W>(dot);
  if (gb) gb[blockIdx.x] = put<W>(sum);
}

// The same where each column of rows of n has a weight: a thread for each column and slab of rows,
// so that reads are coalesced.  The slabs' sums are added up in order by `add_slabs`: same bits always.
template <typename T>
__global__ void norm_columns(const T* g, const T* x, const float* mean, const float* var, float* gw,
                             float* gb, i64 rows, i64 n, i64 slab, float eps) {
  i64 c = (i64)blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * slab;
  if (c >= n) return;
  float sum = 0.f, dot = 0.f;
  for (i64 r = first; r < rows && r < first + slab; ++r) {
    float d = get(g[r * n + c]);
    sum += d;
    dot += d * (get(x[r * n + c]) - mean[r]) / sqrtf(var[r] + eps);
  }
  gw[blockIdx.y * n + c] = dot;
  gb[blockIdx.y * n + c] = sum;
}

template <typename W> __global__ void add_slabs(const float* parts, W* out, i64 slabs, i64 n) {
  EACH(c, n) {
    float s = 0.f;
    for (i64 k = 0; k < slabs; ++k) s += parts[k * n + c];
    out[c] = put<W>(s);
  }
}

// ---- activations ---------------------------------------------------------------------------------

struct Gelu {
  static __device__ __forceinline__ float of(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678f)); }
  static __device__ __forceinline__ float slope(float x) {
    return 0.5f * (1.f + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
  }
};
struct GeluTanh {
  static __device__ __forceinline__ float tanh_of(float x) {
    return tanhf(0.79788456f * x * (1.f + 0.044715f * x * x));
  }
  static __device__ __forceinline__ float of(float x) { return 0.5f * x * (1.f + tanh_of(x)); }
  static __device__ __forceinline__ float slope(float x) {
    float t = tanh_of(x);
    return 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * 0.79788456f * (1.f + 0.134145f * x * x);
  }
};
struct Silu {
  static __device__ __forceinline__ float of(float x) { return x / (1.f + expf(-x)); }
  static __device__ __forceinline__ float slope(float x) {
    float s = 1.f / (1.f + expf(-x));
    return s * (1.f + x * (1.f - s));
  }
};

template <typename T, typename F> __global__ void activate(const T* x, T* y, i64 n) {
  EACH(i, n) y[i] = put<T>(F::of(get(x[i])));
}
template <typename T, typename F> __global__ void activate_grad(const T* g, const T* x, T* gx, i64 n) {
  EACH(i, n) gx[i] = put<T>(get(g[i]) * F::slope(get(x[i])));
}

// ---- random numbers ------------------------------------------------------------------------------

// Philox4x64 with 10 rounds, under the key (key, 0): block `counter` of the stream that the CPU draws.
struct Block { u64 v[4]; };
__device__ __forceinline__ Block philox(u64 key, u64 counter) {
  u64 a = counter, b = 0, c = 0, d = 0, k0 = key, k1 = 0;
  for (int r = 0; r < 10; ++r) {
    u64 ha = __umul64hi(0xD2E7470EE14C6C93ull, a), la = 0xD2E7470EE14C6C93ull * a;
    u64 hc = __umul64hi(0xCA5A826395121157ull, c), lc = 0xCA5A826395121157ull * c;
    a = hc ^ b ^ k0;
    b = lc;
    c = ha ^ d ^ k1;
    d = la;
    k0 += 0x9E3779B97F4A7C15ull;
    k1 += 0xBB67AE8584CAA73Bull;
  }
  Block o = {{a, b, c, d}};
  return o;
}

// Whether each of n elements is kept: one 32-bit word each, eight to a block of the stream.
extern "C" __global__ void keep_mask(unsigned char* mask, i64 n, u64 key, u64 first, u64 least) {
  EACH(k, (n + 7) / 8) {
    Block words = philox(key, first + k);
    for (int j = 0; j < 8 && 8 * k + j < n; ++j)
      mask[8 * k + j] = (u32)(words.v[j / 2] >> (j % 2 * 32)) >= least;
  }
}

// ---- embedding: a block for each index -----------------------------------------------------------

template <typename T>
__global__ void embedding(const T* w, const i64* index, T* y, i64 rows, i64 n, int* bad) {
  i64 t = index[blockIdx.x];
  bool out = t < 0 || t >= rows;
  if (out && threadIdx.x == 0) atomicAdd(bad, 1);
  MINE(i, n) y[blockIdx.x * n + i] = out ? put<T>(NAN) : w[t * n + i];
}

// index, sorted, and the rows of g that they are from: the first of a run of equal ones adds up the
// run, in order.  gw is zero where nothing was looked up.
template <typename T>
__global__ void embedding_grad(const T* g, const i64* index, const i64* order, T* gw, i64 count,
                               i64 rows, i64 n, i64 padding, i64 by_frequency) {
  i64 first = blockIdx.x, t = index[first], last = first + 1;
  if (t == padding || t < 0 || t >= rows || (first && index[first - 1] == t)) return;
  while (last < count && index[last] == t) ++last;
  float scale = by_frequency ? 1.f / (last - first) : 1.f;
  MINE(i, n) {
    float s = 0.f;
    for (i64 k = first; k < last; ++k) s += get(g[order[k] * n + i]);
    gw[t * n + i] = put<T>(s * scale);
  }
}

// ---- pooling of images (planes, h, w) ------------------------------------------------------------

#define WINDOW i64 h, i64 w, i64 kh, i64 kw, i64 oh, i64 ow, i64 sh, i64 sw, i64 ph, i64 pw, i64 dh, i64 dw
// For each position k of the window of output i that is inside: at(y, x).
#define INSIDE(i, k, y, x)                                         \
  for (i64 k = 0; k < kh * kw; ++k)                                \
    for (i64 y = (i) / ow % oh * sh - ph + k / kw * dh, x = (i) % ow * sw - pw + k % kw * dw, once = 1; \
         once && y >= 0 && y < h && x >= 0 && x < w; once = 0)
// For each output o whose window holds input i of a plane, at its position k.
#define COVERING(i, k, o)                                          \
  for (i64 k = 0; k < kh * kw; ++k)                                \
    for (i64 a = (i) / w % h + ph - k / kw * dh, b = (i) % w + pw - k % kw * dw, once = 1, o = a / sh * ow + b / sw; \
         once && a >= 0 && b >= 0 && a % sh == 0 && b % sw == 0 && a / sh < oh && b / sw < ow; once = 0)

// The maxima, and the position in its window of each, the first if several; NaN is the greatest.
template <typename T> __global__ void max_pool(const T* x, T* y, int* where, i64 n, WINDOW) {
  EACH(i, n) {
    float m = -INFINITY;
    i64 best = -1;
    const T* plane = x + i / (oh * ow) * h * w;
    INSIDE(i, k, r, c) {
      float v = get(plane[r * w + c]);
      if (best < 0 || v > m || (v != v && m == m)) {
        m = v;
        best = k;
      }
    }
    if (y) y[i] = put<T>(m);
    if (where) where[i] = (int)best;
  }
}

template <typename T>
__global__ void max_pool_grad(const T* g, const int* where, T* gx, i64 n, WINDOW) {
  EACH(i, n) {
    i64 plane = i / (h * w) * oh * ow;
    float s = 0.f;
    COVERING(i, k, o) if (where[plane + o] == k) s += get(g[plane + o]);
    gx[i] = put<T>(s);
  }
}

template <typename T> __global__ void window_sum(const T* x, T* y, i64 n, float scale, WINDOW) {
  EACH(i, n) {
    const T* plane = x + i / (oh * ow) * h * w;
    float s = 0.f;
    INSIDE(i, k, r, c) s += get(plane[r * w + c]);
    y[i] = put<T>(s * scale);
  }
}

template <typename T> __global__ void window_spread(const T* g, T* gx, i64 n, float scale, WINDOW) {
  EACH(i, n) {
    const T* plane = g + i / (h * w) * oh * ow;
    float s = 0.f;
    COVERING(i, k, o) s += get(plane[o]);
    gx[i] = put<T>(s * scale);
  }
}

// ---- an LSTM's cell: gates (n, 4 * size) in the order i, f, g, o, from sums to values -------------

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

template <typename T>
__global__ void lstm_cell(T* gates, const T* sums, const T* c, T* h_new, T* c_new, i64 n, i64 size) {
  EACH(e, n * size) {
    i64 at = e / size * 4 * size + e % size;
    float i = sigmoid(get(gates[at]) + get(sums[at]));
    float f = sigmoid(get(gates[at + size]) + get(sums[at + size]));
    float g = tanhf(get(gates[at + 2 * size]) + get(sums[at + 2 * size]));
    float o = sigmoid(get(gates[at + 3 * size]) + get(sums[at + 3 * size]));
    float next = f * get(c[e]) + i * g;
    gates[at] = put<T>(i);
    gates[at + size] = put<T>(f);
    gates[at + 2 * size] = put<T>(g);
    gates[at + 3 * size] = put<T>(o);
    c_new[e] = put<T>(next);
    h_new[e] = put<T>(o * tanhf(next));
  }
}

// gh, gc: the gradients of the new state by later steps, in place the old state's, of c; gy and gcs
// (or none) the gradients of this step's outputs
template <typename T>
__global__ void lstm_cell_grad(const T* gates, const T* c, const T* c_new, const T* gh, const T* gy,
                               T* gc, const T* gcs, T* ga, i64 n, i64 size) {
  EACH(e, n * size) {
    i64 at = e / size * 4 * size + e % size;
    float i = get(gates[at]), f = get(gates[at + size]), g = get(gates[at + 2 * size]);
    float o = get(gates[at + 3 * size]), t = tanhf(get(c_new[e]));
    float dh = get(gh[e]) + (gy ? get(gy[e]) : 0.f);
    float dc = get(gc[e]) + (gcs ? get(gcs[e]) : 0.f) + dh * o * (1.f - t * t);
    ga[at] = put<T>(dc * g * i * (1.f - i));
    ga[at + size] = put<T>(dc * get(c[e]) * f * (1.f - f));
    ga[at + 2 * size] = put<T>(dc * i * (1.f - g * g));
    ga[at + 3 * size] = put<T>(dh * t * o * (1.f - o));
    gc[e] = put<T>(dc * f);
  }
}
