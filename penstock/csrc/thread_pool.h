// The process's pool of compute threads: the calling thread and some workers share out numbered tasks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace penstock {

// How many threads compute, the caller included. Starts or ends workers; never called while tasks run. If cores are given,
// one for each thread and the caller's first, every worker keeps to a core where the caller is not: schedulers have been
// seen to leave it there. The caller itself is left free. `cpus` holds the cores' processors one after the other,
// `sizes` how many each of the `num_cores` has.
void set_num_threads(int count, const int* cpus, const int* sizes, int num_cores);
int num_threads();

// Calls task(context, i) once for every i in 0..count, by whichever thread is free, and returns when all are done.
// Which thread runs a task must not change its result. Calls from inside a task run in place.
void run_tasks(int64_t count, void (*task)(void* context, int64_t index), void* context);

// This thread's scratch memory: at least `bytes`, aligned to 64, valid until its next call. Contents are undefined.
void* thread_scratch(size_t bytes);

// Memory that the caller of a kernel shares with its tasks: as thread_scratch, but another piece.
void* shared_scratch(size_t bytes);

// run_tasks for a lambda. In an unnamed namespace, because code in a header that kernels include is compiled for
// several instruction sets and must not be merged by the linker.
namespace {
template <class Task>
inline void parallel_for(int64_t count, const Task& task) {
  if (count == 1) return task(int64_t{0});
  run_tasks(count, [](void* context, int64_t i) { (*static_cast<const Task*>(context))(i); }, const_cast<Task*>(&task));
}
}  // namespace

}  // namespace penstock
