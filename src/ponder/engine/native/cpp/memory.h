// Large memory: aligned, zeroed, on huge pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder {

// Zeroed memory of at least `bytes`, aligned to 64 bytes or more; nullptr where the system has none. Pages are taken
// from the system when they are first written.
void* take_memory(size_t bytes);
void give_memory(void* memory, size_t bytes);

// A buffer that grows and never shrinks. What it held is lost when it grows; new memory is zeroed.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { give_memory(data_, bytes_); }

  // False where the system has no memory.
  bool reserve(size_t bytes);
  template <class T> T* as() const { return static_cast<T*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace ponder
