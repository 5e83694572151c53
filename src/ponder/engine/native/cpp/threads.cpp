#include "threads.h"

#include <pthread.h>

#include <chrono>
#if defined(__linux__)
#include <sched.h>
#endif

namespace ponder {

namespace {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spin until `ready()` or for `limit`; the clock is read now and then only.
template <class Ready> bool spin(Ready ready, std::chrono::microseconds limit) {
  for (int i = 0; i < 64; ++i) {
    if (ready()) return true;
    relax();
  }
  const auto until = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

// What std::condition_variable::wait does, whose newest form asks for the C++ library of GCC 12 and would keep a wheel
// that is built there from older systems.
template <class Ready> void wait_on(std::condition_variable& condition, std::unique_lock<std::mutex>& lock, Ready ready) {
  while (!ready()) pthread_cond_wait(condition.native_handle(), lock.mutex()->native_handle());
}

constexpr std::chrono::microseconds kBarrierSpin(60);
constexpr std::chrono::microseconds kIdleSpin(200);  // from one step to the next: sampling and the caller's loop

// The cores of this process, which the steps of all pools share.
class Cores {
 public:
  explicit Cores(int count) : total_(count), free_(count) {}
  int take(int wanted) {
    const int count = wanted < total_ ? wanted : total_;
    std::unique_lock<std::mutex> lock(mutex_);
    wait_on(freed_, lock, [&] { return free_ >= count; });
    free_ -= count;
    return count;
  }
  void give(int count) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      free_ += count;
    }
    freed_.notify_all();
  }

 private:
  const int total_;
  int free_;
  std::mutex mutex_;
  std::condition_variable freed_;
};

Cores& cores() {
  static Cores* shared = new Cores(available_cores());  // never destroyed: threads may outlive static objects
  return *shared;
}

}  // namespace

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return count;
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? int(count) : 1;
}

void Barrier::wait() {
  const unsigned round = round_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      woken_.notify_all();
    }
    return;
  }
  const auto passed = [&] { return round_.load(std::memory_order_acquire) != round; };
  if (spin(passed, kBarrierSpin)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  wait_on(woken_, lock, [&] { return round_.load(std::memory_order_seq_cst) != round; });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

Pool::Pool(int threads) : barrier_(threads) {
  try {
    for (int rank = 1; rank < threads; ++rank) workers_.emplace_back([this, rank] { worker(rank); });
  } catch (...) {  // the system gives no more threads, or no memory
    close();
    throw;
  }
}

Pool::~Pool() { close(); }

void Pool::close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_.store(true);
    started_.fetch_add(1);
    woken_.notify_all();
  }
  for (auto& thread : workers_) thread.join();
}

void Pool::run(void (*work)(void*, const Team&), void* context) {
  std::lock_guard<std::mutex> turn(turn_);
  const int held = cores().take(size());
  if (!workers_.empty()) {
    work_ = work;
    context_ = context;
    running_.store(int(workers_.size()), std::memory_order_relaxed);
    started_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      woken_.notify_all();
    }
  }
  work(context, Team{0, size(), &barrier_});
  const auto done = [&] { return running_.load(std::memory_order_acquire) == 0; };
  while (!spin(done, kBarrierSpin)) std::this_thread::sleep_for(std::chrono::microseconds(50));
  cores().give(held);
}

void Pool::worker(int rank) {
  unsigned seen = 0;
  for (;;) {
    const auto called = [&] { return started_.load(std::memory_order_acquire) != seen; };
    if (!spin(called, kIdleSpin)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wait_on(woken_, lock, [&] { return started_.load(std::memory_order_seq_cst) != seen; });
      sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = started_.load(std::memory_order_acquire);
    if (closing_.load()) return;
    work_(context_, Team{rank, size(), &barrier_});
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace ponder
