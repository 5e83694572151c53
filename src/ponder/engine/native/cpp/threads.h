// A team of threads that walk through one step together.
//
// Waiting threads spin for some tens of microseconds, which is longer than any wait on a machine that has a core for
// each of them, and then sleep: where cores are short, the thread that is waited for gets one. Steps of different
// models in one process take turns when together they would need more cores than there are.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace ponder {

// Cores that this process may use.
int available_cores();

// A barrier for a fixed number of threads.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait();

 private:
  const int threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> round_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable woken_;
};

// One thread's place in a team.
struct Team {
  int rank = 0, size = 1;
  Barrier* barrier = nullptr;
  void sync() const {
    if (size > 1) barrier->wait();
  }
  // This thread's share of `count` things.
  int begin(int count) const { return int(int64_t(count) * rank / size); }
  int end(int count) const { return int(int64_t(count) * (rank + 1) / size); }
};

class Pool {
 public:
  explicit Pool(int threads);  // throws std::system_error where the system gives no more threads
  ~Pool();
  int size() const { return int(workers_.size()) + 1; }

  // Run `work(context, team)` on every thread, the caller's among them, and wait for all.
  void run(void (*work)(void* context, const Team& team), void* context);

 private:
  void worker(int rank);
  void close();  // end the threads that began

  std::vector<std::thread> workers_;
  std::mutex turn_;  // one run at a time
  Barrier barrier_;
  void (*work_)(void*, const Team&) = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<unsigned> started_{0};
  alignas(64) std::atomic<int> running_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> closing_{false};
  std::mutex mutex_;
  std::condition_variable woken_;
};

}  // namespace ponder
