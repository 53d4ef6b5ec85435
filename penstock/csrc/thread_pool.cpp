#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#define PENSTOCK_PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define PENSTOCK_PAUSE() asm volatile("yield")
#else
#define PENSTOCK_PAUSE() (void)0
#endif

namespace penstock {
namespace {

using Cores = std::vector<std::vector<int>>;  // processors by core
using Clock = std::chrono::steady_clock;

// Between two kernels of a step lie a few microseconds of Python: workers wait for the next one awake. They first
// spin, then let others run in between, then sleep, so that an idle engine takes nothing.
constexpr auto spin_time = std::chrono::microseconds(30);
constexpr auto yield_time = std::chrono::microseconds(1000);

thread_local bool inside_task = false;

class Pool {
 public:
  Pool(int workers, Cores cores) : cores_(std::move(cores)) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
    for (size_t i = 1; i < cores_.size(); ++i) keep_to_core(i);
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  int workers() const { return static_cast<int>(threads_.size()); }

  void run(int64_t count, void (*task)(void*, int64_t), void* context) {
    if (!cores_.empty()) keep_off_the_caller();
    task_ = task;
    context_ = context;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    job_.fetch_add(1);  // odd: open
    if (sleeping_.load() > 0) {
      { std::lock_guard<std::mutex> lock(mutex_); }
      wake_.notify_all();
    }
    take_tasks();
    job_.fetch_add(1);  // even: closed; who has not entered by now stays out, so a sleeper is not waited for
    while (inside_.load() != 0) PENSTOCK_PAUSE();
  }

 private:
  // The caller goes where the system puts it. The worker whose core that is moves to the one the caller left: it would
  // get no time there until the caller had done everything alone.
  void keep_off_the_caller() {
#if defined(__linux__)
    const int cpu = sched_getcpu();
    if (cpu == callers_cpu_) return;
    callers_cpu_ = cpu;
    for (size_t i = 1; i < cores_.size(); ++i) {
      if (std::find(cores_[i].begin(), cores_[i].end(), cpu) == cores_[i].end()) continue;
      std::swap(cores_[0], cores_[i]);
      return keep_to_core(i);
    }
#endif
  }

  void keep_to_core([[maybe_unused]] size_t i) {  // as well as the system lets us
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cores_[i]) CPU_SET(cpu, &set);
    pthread_setaffinity_np(threads_[i - 1].native_handle(), sizeof(set), &set);
#endif
  }

  void take_tasks() {
    inside_task = true;
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) task_(context_, i);
    inside_task = false;
  }

  void work() {
    uint64_t seen = 0;
    while (true) {
      const uint64_t job = wait_for_job(seen);
      if (stop_) return;
      seen = job;
      inside_.fetch_add(1);
      // Still open? Then the caller will wait for us. Otherwise the job's fields may be changing already.
      if ((job & 1) != 0 && job_.load() == job) take_tasks();
      inside_.fetch_sub(1);
    }
  }

  // The number of a job other than `seen`, which was open a moment ago unless the pool stops.
  uint64_t wait_for_job(uint64_t seen) {
    const auto is_new = [&](uint64_t job) { return (job & 1) != 0 && job != seen; };
    const auto start = Clock::now();
    while (!stop_) {
      for (int i = 0; i < 64; ++i) {
        const uint64_t job = job_.load(std::memory_order_acquire);
        if (is_new(job)) return job;
        PENSTOCK_PAUSE();
      }
      const auto waited = Clock::now() - start;
      if (waited > yield_time) break;
      if (waited > spin_time) std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return stop_ || is_new(job_.load()); });
    sleeping_.fetch_sub(1);
    return job_.load();
  }

  std::vector<std::thread> threads_;
  Cores cores_;  // the caller's, then one for each worker; empty if the system is to place them
  int callers_cpu_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};
  alignas(64) std::atomic<uint64_t> job_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int> inside_{0};
  void (*task_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
};

Pool* pool = nullptr;  // never deleted at exit: nobody would be left to be joined in a forked child
std::mutex pool_user;  // one caller at a time: a second Python thread waits, since kernels let the GIL go

struct Buffer {
  void* data = nullptr;
  size_t size = 0;
  ~Buffer() { std::free(data); }
  void* at_least(size_t bytes) {
    if (bytes > size) {
      std::free(data);
      size = (bytes + 4095) / 4096 * 4096;
      data = std::aligned_alloc(4096, size);
      if (!data) {
        size = 0;
        throw std::bad_alloc();
      }
    }
    return data;
  }
};

thread_local Buffer own_buffer;
thread_local Buffer shared_buffer;

}  // namespace

void set_num_threads(int count, const int* cpus, const int* sizes, int num_cores) {
  Cores cores;
  for (int i = 0; i < num_cores; cpus += sizes[i++]) cores.emplace_back(cpus, cpus + sizes[i]);
  std::lock_guard<std::mutex> lock(pool_user);
  delete pool;
  pool = count > 1 ? new Pool(count - 1, std::move(cores)) : nullptr;
}

int num_threads() { return pool ? pool->workers() + 1 : 1; }

void run_tasks(int64_t count, void (*task)(void*, int64_t), void* context) {
  if (inside_task || !pool || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(context, i);
    return;
  }
  std::lock_guard<std::mutex> lock(pool_user);
  pool->run(count, task, context);
}

void* thread_scratch(size_t bytes) { return own_buffer.at_least(bytes); }
void* shared_scratch(size_t bytes) { return shared_buffer.at_least(bytes); }

}  // namespace penstock
