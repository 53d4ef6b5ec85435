#include "thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
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

using Clock = std::chrono::steady_clock;

// Between two kernels of a step lie a few microseconds of Python: workers wait for the next one awake. They first
// spin, then let others run in between, then sleep, so that an idle engine takes nothing.
constexpr auto spin_time = std::chrono::microseconds(30);
constexpr auto yield_time = std::chrono::microseconds(1000);

thread_local bool inside_task = false;

class Pool {
 public:
  Pool(int workers, const int* cpus, int num_cpus) {
    for (int i = 0; i < workers; ++i) {
      const int cpu = i < num_cpus ? cpus[i] : -1;
      threads_.emplace_back([this, cpu] {
        if (cpu >= 0) keep_to(cpu);
        work();
      });
    }
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
  static void keep_to([[maybe_unused]] int cpu) {  // as well as the system lets us
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
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

void set_num_threads(int count, const int* cpus, int num_cpus) {
  std::lock_guard<std::mutex> lock(pool_user);
  delete pool;
  pool = count > 1 ? new Pool(count - 1, cpus, num_cpus) : nullptr;
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
