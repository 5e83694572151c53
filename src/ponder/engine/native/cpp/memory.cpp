#include "memory.h"

#include <sys/mman.h>

namespace ponder {

namespace {
constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kHeader = 64;
constexpr size_t kPiece = size_t(32) << 20;  // of an arena; what is not written takes no memory

size_t mapped_bytes(size_t bytes) {
  const size_t unit = bytes >= kHugePage ? kHugePage : size_t(4096);
  return (bytes + unit - 1) / unit * unit + (unit == kHugePage ? kHugePage : 0);
}
}  // namespace

// A mapping starts anywhere; for huge pages the memory handed out starts at a multiple of their size, and the room
// before it is given back to the system.
void* take_memory(size_t bytes, bool sparse) {
  if (bytes == 0) bytes = kHeader;
  const size_t mapped = mapped_bytes(bytes);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (sparse ? MAP_NORESERVE : 0);
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (bytes < kHugePage) return memory;
  const auto start = reinterpret_cast<uintptr_t>(memory);
  const auto aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  const size_t before = aligned - start, after = kHugePage - before;
  if (before) munmap(memory, before);
  if (after) munmap(reinterpret_cast<void*>(start + mapped - after), after);
#ifdef MADV_HUGEPAGE
  madvise(reinterpret_cast<void*>(aligned), mapped - kHugePage, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(aligned);
}

void give_memory(void* memory, size_t bytes) {
  if (memory == nullptr) return;
  if (bytes == 0) bytes = kHeader;
  munmap(memory, bytes < kHugePage ? mapped_bytes(bytes) : mapped_bytes(bytes) - kHugePage);
}

bool Buffer::reserve(size_t bytes) {
  if (bytes <= bytes_) return true;
  give_memory(data_, bytes_);
  data_ = take_memory(bytes);
  bytes_ = data_ == nullptr ? 0 : bytes;
  return data_ != nullptr;
}

Arena::~Arena() {
  for (const Piece& piece : pieces_) give_memory(piece.memory, piece.bytes);
}

void* Arena::take(size_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  const bool own = bytes >= kPiece / 2;  // a piece of its own: the rest of the shared one is not wasted
  if (own || bytes > left_) {
    const size_t size = own ? bytes : kPiece;
    void* memory = take_memory(size);
    if (memory == nullptr) return nullptr;
    pieces_.push_back({memory, size});
    if (own) return memory;
    free_ = static_cast<uint8_t*>(memory);
    left_ = size;
  }
  void* const block = free_;
  free_ += bytes;
  left_ -= bytes;
  return block;
}

}  // namespace ponder
