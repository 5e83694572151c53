// Large memory: aligned, zeroed, on huge pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ponder {

// Zeroed memory of at least `bytes`, aligned to 64 bytes or more; nullptr where the system has none. Pages are taken
// from the system when they are first written; `sparse` memory, most of which may never be, can be more than it has.
void* take_memory(size_t bytes, bool sparse = false);
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

// Memory for many blocks that live as long as it does. They stand end to end in large pieces, so that those of less than
// a huge page lie on huge pages too: a weight is read once a step, and with small pages each 4 KB of them take a walk
// through the page table.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Zeroed memory aligned to 64 bytes; nullptr where the system has none.
  void* take(size_t bytes);

 private:
  struct Piece {
    void* memory;
    size_t bytes;
  };
  std::vector<Piece> pieces_;
  uint8_t* free_ = nullptr;  // of the newest shared piece
  size_t left_ = 0;
};

}  // namespace ponder
