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
#include <time.h>
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

// Between two kernels of a step lie a few microseconds of Python: workers wait awake for the next one, then sleep. They
// do not yield: beside another program that costs a thread its place in the queue, so milliseconds each time.
constexpr auto spin_time = std::chrono::microseconds(200);

// How long a caller spins before it looks whether a worker that it waits for has its core, and between two looks.
constexpr auto first_look = std::chrono::microseconds(30), next_look = std::chrono::microseconds(150);

thread_local bool inside_task = false;

struct alignas(64) Worker {
  std::thread thread;
  std::atomic<bool> inside{false};  // perhaps computing: its caller waits for it
  std::atomic<bool> moved{false};   // by its caller, from its core to where the caller is
};

// Have a thread run on these processors only, as well as the system lets us.
void keep_to([[maybe_unused]] std::thread& thread, [[maybe_unused]] const std::vector<int>& cpus) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
#endif
}

// Nanoseconds that a thread has computed; where that is not known, always more.
int64_t computed([[maybe_unused]] std::thread& thread) {
#if defined(__linux__)
  clockid_t clock;
  timespec time;
  if (pthread_getcpuclockid(thread.native_handle(), &clock) == 0 && clock_gettime(clock, &time) == 0)
    return time.tv_sec * int64_t{1000000000} + time.tv_nsec;
#endif
  return Clock::now().time_since_epoch().count();
}

class Pool {
 public:
  Pool(int workers, Cores cores) : workers_(workers), cores_(std::move(cores)) {
    for (int i = 0; i < workers; ++i) workers_[i].thread = std::thread([this, i] { work(i); });
    for (size_t i = 1; i < cores_.size(); ++i) keep_to(workers_[i - 1].thread, cores_[i]);
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.thread.join();
  }

  int workers() const { return static_cast<int>(workers_.size()); }

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
    for (auto& worker : workers_)
      if (worker.inside.load()) wait_for(worker);
  }

 private:
  // The caller goes where the system puts it. The worker whose core that is moves to the one the caller left: it would
  // get no time there until the caller had done everything alone.
  void keep_off_the_caller() {
#if defined(__linux__)
    const int cpu = sched_getcpu();
    if (cpu == callers_cpu_) return;
    callers_cpu_ = cpu;
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 1; i < cores_.size(); ++i) {
      if (std::find(cores_[i].begin(), cores_[i].end(), cpu) == cores_[i].end()) continue;
      std::swap(cores_[0], cores_[i]);
      return keep_to(workers_[i - 1].thread, cores_[i]);
    }
#endif
  }

  void take_tasks() {
    inside_task = true;
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) task_(context_, i);
    inside_task = false;
  }

  // Returns when the worker has finished its task. If another program has its core, the task would wait for some
  // milliseconds: the worker is moved to the caller's core, which is free as long as the caller sleeps.
  void wait_for(Worker& worker) {
    auto look = Clock::now() + first_look;
    for (int64_t before = -1; true;) {
      for (int i = 0; i < 64; ++i) {
        if (!worker.inside.load(std::memory_order_acquire)) return;
        PENSTOCK_PAUSE();
      }
      if (Clock::now() < look) continue;
      look += next_look;
      if (std::exchange(before, computed(worker.thread)) == before) break;
    }
    if (!cores_.empty()) {
      keep_to(worker.thread, {callers_cpu_});
      worker.moved.store(true);
    }
    std::unique_lock<std::mutex> lock(mutex_);
    caller_sleeps_.store(true);
    done_.wait(lock, [&] { return !worker.inside.load(); });
    caller_sleeps_.store(false);
  }

  void work(size_t i) {
    Worker& self = workers_[i];
    uint64_t seen = 0;
    while (true) {
      const uint64_t job = wait_for_job(i, seen);
      if (stop_) return;
      seen = job;
      self.inside.store(true);
      // Still open? Then the caller will wait for us. Otherwise the job's fields may be changing already.
      if ((job & 1) != 0 && job_.load() == job) take_tasks();
      self.inside.store(false);
      if (caller_sleeps_.load()) {
        { std::lock_guard<std::mutex> lock(mutex_); }
        done_.notify_one();
      }
      if (self.moved.load()) go_back(i);
    }
  }

  void go_back(size_t i) {
    std::lock_guard<std::mutex> lock(mutex_);
    workers_[i].moved.store(false);
    keep_to(workers_[i].thread, cores_[i + 1]);
  }

  // The number of a job other than `seen`, which was open a moment ago unless the pool stops.
  uint64_t wait_for_job(size_t i, uint64_t seen) {
    const auto is_new = [&](uint64_t job) { return (job & 1) != 0 && job != seen; };
    const auto end = Clock::now() + spin_time;
    do {
      for (int turn = 0; turn < 64; ++turn) {
        const uint64_t job = job_.load(std::memory_order_acquire);
        if (is_new(job)) return job;
        PENSTOCK_PAUSE();
      }
    } while (!stop_ && Clock::now() < end);
    if (workers_[i].moved.load()) go_back(i);
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return stop_ || is_new(job_.load()); });
    sleeping_.fetch_sub(1);
    return job_.load();
  }

  std::vector<Worker> workers_;
  Cores cores_;  // the caller's, then one for each worker; empty if the system is to place them
  int callers_cpu_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<bool> stop_{false}, caller_sleeps_{false};
  std::atomic<int> sleeping_{0};
  alignas(64) std::atomic<uint64_t> job_{0};
  alignas(64) std::atomic<int64_t> next_{0};
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
