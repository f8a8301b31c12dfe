// CUDA's blocks on one CPU thread: each CUDA thread is a fiber, __syncthreads and the shuffles of a
// warp are barriers between fibers, __shared__ is static since blocks run one after another.
//
// Enough to compare values.  Fibers change over at barriers only, so a barrier that is missing, or two
// threads that write to one place, can go unseen.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <setjmp.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static

struct Dim { unsigned x, y; };
static Dim threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
// A fiber is made once, and runs a thread of block after block.  setjmp changes over, since swapcontext
// asks the kernel for signal masks each time.
struct Fiber {
  ucontext_t start;
  jmp_buf place;
  std::vector<char> stack;
  bool done;
};
struct Barrier {
  int arrived = 0;
  unsigned generation = 0;
};
static std::vector<Fiber> fibers(1024);
static jmp_buf scheduler;
static unsigned current;
static std::function<void()> body;
static Barrier block, warps[32];
static uint32_t lanes[32][32];

inline void pause() {
  if (!_setjmp(fibers[current].place)) _longjmp(scheduler, 1);
}

inline void wait(Barrier &b, int n) {
  unsigned g = b.generation;
  if (++b.arrived == n) {
    b.arrived = 0;
    ++b.generation;
  }
  while (b.generation == g) pause();
}

static void live() {
  for (;;) {
    body();
    fibers[current].done = true;
    pause();
  }
}

inline void resume(Fiber &f) {
  if (_setjmp(scheduler)) return;
  if (!f.stack.empty()) _longjmp(f.place, 1);
  f.stack.resize(64 << 10);
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack.data();
  f.start.uc_stack.ss_size = f.stack.size();
  f.start.uc_link = nullptr;
  makecontext(&f.start, live, 0);
  setcontext(&f.start);
}

// One block.  Aborts where some thread never comes to a barrier.
inline void run_block(unsigned n) {
  block = Barrier();
  for (auto &w : warps) w = Barrier();
  for (unsigned i = 0; i < n; ++i) fibers[i].done = false;
  for (unsigned left = n, rounds = 0; left; ++rounds) {
    if (rounds > 100000) abort();
    left = 0;
    for (current = 0; current < n; ++current) {
      if (fibers[current].done) continue;
      threadIdx.x = current;
      resume(fibers[current]);
      left += !fibers[current].done;
    }
  }
}

// kernel(arguments...), each given by its address, as cuLaunchKernel takes them
template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
  kernel(*(A *)arguments[I]...);
}
template <class... A> void launch(void (*kernel)(A...), unsigned *blocks, unsigned threads, void **arguments) {
  gridDim = {blocks[0], blocks[1]};
  blockDim = {threads, 1};
  body = [=] { call(kernel, arguments, std::index_sequence_for<A...>()); };
  for (blockIdx.y = 0; blockIdx.y < blocks[1]; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < blocks[0]; ++blockIdx.x) run_block(threads);
}
}  // namespace emulator

inline void __syncthreads() { emulator::wait(emulator::block, blockDim.x); }
inline float __shfl_xor_sync(unsigned, float v, int mask) {
  unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  memcpy(&emulator::lanes[warp][lane], &v, 4);
  emulator::wait(emulator::warps[warp], 32);
  memcpy(&v, &emulator::lanes[warp][lane ^ mask], 4);
  emulator::wait(emulator::warps[warp], 32);
  return v;
}
inline int atomicAdd(int *p, int v) {
  int old = *p;
  *p += v;
  return old;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

struct __nv_bfloat16 { uint16_t bits; };
inline float __bfloat162float(__nv_bfloat16 v) {
  uint32_t u = (uint32_t)v.bits << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline __nv_bfloat16 __float2bfloat16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if (f != f) return {(uint16_t)(u >> 16 | 0x40)};
  return {(uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
struct __half { _Float16 value; };
inline float __half2float(__half v) { return (float)v.value; }
inline __half __float2half(float f) { return {(_Float16)f}; }
