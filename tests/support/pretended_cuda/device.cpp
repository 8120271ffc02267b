// A CUDA device without CUDA: tensors that lie on cuda:N hold their numbers in the memory of the CPU, and every operation
// on them runs as the CPU's kernel on tensors that share this memory. Dispatcher, autograd, autocast and the checks of
// devices are torch's own. Missing are kernels of CUDA, its memory limits, its streams and its speed.

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/SparseTensorUtils.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;
using c10::Storage;
using c10::Stream;

thread_local DeviceIndex current = 0;

DeviceIndex n_devices() {
  const char* asked = std::getenv("PRETENDED_GPUS");
  return static_cast<DeviceIndex>(asked ? std::atoi(asked) : 1);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device getDevice() const override { return {DeviceType::CUDA, current}; }
  void uncheckedSetDevice(Device device) const noexcept override { current = device.index(); }
  void setDevice(Device device) const override { uncheckedSetDevice(device); }
  Device exchangeDevice(Device device) const override {
    Device before = getDevice();
    uncheckedSetDevice(device);
    return before;
  }
  Stream getStream(Device device) const override { return Stream(Stream::DEFAULT, device); }
  Stream getNewStream(Device device, int) const override { return Stream(Stream::DEFAULT, device); }
  Stream exchangeStream(Stream stream) const override { return Stream(Stream::DEFAULT, stream.device()); }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
  void synchronizeDevice(const DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const Stream&) const override {}
  DeviceIndex deviceCount() const noexcept override { return n_devices(); }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

c10::DataPtr keep(const Storage& storage, Device device) {
  return c10::DataPtr(const_cast<void*>(storage.data()), new Storage(storage),
                      [](void* it) { delete static_cast<Storage*>(it); }, device);
}

// Two tensors of one memory: on the device, and on the CPU for the length of one operation.
struct Pair {
  Tensor device, host;
  std::vector<int64_t> sizes;
};

class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : op_(op) {}

  Tensor to_host(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cuda()) {
      if (tensor.defined() && tensor.dim() > 0) foreign_ = true;
      return tensor;
    }
    if (device_ && *device_ != tensor.device() && !may_mix()) fail_mixed(device_->str(), tensor.device().str());
    if (!device_) device_ = tensor.device();
    for (const auto& pair : pairs_)
      if (pair.device.is_same(tensor)) return pair.host;
    Tensor host = tensor.is_sparse() ? sparse_host(tensor) : dense_host(tensor);
    pairs_.push_back({tensor, host, host.sizes().vec()});
    return host;
  }

  IValue to_host(const IValue& value) {
    if (value.isTensor()) return to_host(value.toTensor());
    if (value.isDevice()) {
      Device wanted = value.toDevice();
      named_ = wanted;
      if (wanted.is_cuda()) {
        DeviceIndex index = wanted.has_index() ? wanted.index() : current;
        TORCH_CHECK(index < n_devices(), "CUDA error: invalid device ordinal");
        device_ = Device(DeviceType::CUDA, index);
        return Device(DeviceType::CPU);
      }
      return value;
    }
    if (value.isTensorList()) {
      c10::List<Tensor> found;
      for (const Tensor& tensor : value.toTensorVector()) found.push_back(to_host(tensor));
      return found;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> found;
      for (const auto& item : value.toOptionalTensorVector())
        found.push_back(item ? std::optional<Tensor>(to_host(*item)) : std::nullopt);
      return found;
    }
    return value;
  }

  void check_devices() const {
    if (device_ && foreign_ && !pairs_.empty() && !may_mix()) fail_mixed(device_->str(), "cpu");
  }

  // What the CPU's kernel changed besides numbers: the memory or the shape of its arguments.
  void write_back() {
    for (auto& pair : pairs_) {
      if (pair.device.is_sparse()) {
        auto* to = at::sparse::get_sparse_impl(pair.device);
        to->raw_resize_(pair.host.sparse_dim(), pair.host.dense_dim(), pair.host.sizes());
        to->set_indices_and_values_unsafe(to_device(pair.host._indices()), to_device(pair.host._values()));
        to->set_coalesced(pair.host.is_coalesced());
        continue;
      }
      const Storage& mine = pair.host.storage();
      auto known = lent_.find(mine.unsafeGetStorageImpl());
      if (known == lent_.end()) {
        pair.device.unsafeGetTensorImpl()->set_storage_keep_dtype(given(mine));
      } else if (mine.data() != known->second.data()) {
        known->second.unsafeGetStorageImpl()->set_data_ptr(keep(mine, *device_));
        known->second.unsafeGetStorageImpl()->set_nbytes(mine.nbytes());
      }
      auto* impl = pair.device.unsafeGetTensorImpl();
      if (pair.host.sizes() != pair.device.sizes() || pair.host.strides() != pair.device.strides() ||
          pair.host.storage_offset() != pair.device.storage_offset())
        impl->set_sizes_and_strides(pair.host.sizes(), pair.host.strides(), pair.host.storage_offset());
    }
  }

  Tensor to_device(const Tensor& host) {
    if (!host.defined() || host.is_cuda()) return host;
    for (const auto& pair : pairs_)
      if (pair.host.is_same(host)) return pair.device;
    if (host.layout() == at::kSparse)
      return at::_sparse_coo_tensor_with_dims_and_tensors(
          host.sparse_dim(), host.dense_dim(), host.sizes(), to_device(host._indices()), to_device(host._values()),
          host.scalar_type(), at::kSparse, *device_, false, host.is_coalesced());
    auto known = lent_.find(host.storage().unsafeGetStorageImpl());
    bool is_view = known != lent_.end();
    Storage storage = is_view ? known->second : given(host.storage());
    DispatchKeySet keys(DispatchKey::CUDA);
    Tensor found = is_view
        ? at::detail::make_tensor<c10::TensorImpl>(
              c10::TensorImpl::VIEW, std::move(storage), keys_of(host.storage()), host.dtype())
        : at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, host.dtype());
    found.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
    return found;
  }

  IValue to_device(const IValue& value) {
    if (!device_ || (named_ && named_->is_cpu())) return value;
    if (value.isTensor()) return to_device(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> found;
      for (const Tensor& tensor : value.toTensorVector()) found.push_back(to_device(tensor));
      return found;
    }
    return value;
  }

 private:
  // Copies cross devices, and an index may lie on the CPU.
  bool may_mix() const {
    static const std::unordered_set<std::string> names{
        "aten::copy_", "aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"};
    const auto& name = op_.operator_name();
    return names.count(name.name) || names.count(name.name + "." + name.overload_name);
  }

  void fail_mixed(const std::string& one, const std::string& other) const {
    TORCH_CHECK(false, "Expected all tensors to be on the same device, but found at least two devices, ", one, " and ",
                other, "! (", op_.operator_name().name, ")");
  }

  Tensor dense_host(const Tensor& tensor) {
    const Storage& own = tensor.storage();
    auto found = hosts_.find(own.unsafeGetStorageImpl());
    if (found == hosts_.end()) {
      Storage lent(Storage::use_byte_size_t(), own.nbytes(), keep(own, Device(DeviceType::CPU)),
                   c10::GetAllocator(DeviceType::CPU), true);
      lent_.emplace(lent.unsafeGetStorageImpl(), own);
      keys_.emplace(lent.unsafeGetStorageImpl(), tensor.key_set());
      found = hosts_.emplace(own.unsafeGetStorageImpl(), lent).first;
    }
    Tensor host = at::detail::make_tensor<c10::TensorImpl>(
        Storage(found->second), DispatchKeySet(DispatchKey::CPU), tensor.dtype());
    host.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) host.unsafeGetTensorImpl()->set_wrapped_number(true);
    return host;
  }

  Tensor sparse_host(const Tensor& tensor) {
    return at::_sparse_coo_tensor_with_dims_and_tensors(
        tensor.sparse_dim(), tensor.dense_dim(), tensor.sizes(), dense_host(tensor._indices()),
        dense_host(tensor._values()), tensor.scalar_type(), at::kSparse, Device(DeviceType::CPU), false,
        tensor.is_coalesced());
  }

  Storage given(const Storage& host) {
    auto known = made_.find(host.unsafeGetStorageImpl());
    if (known != made_.end()) return known->second;
    Storage own(Storage::use_byte_size_t(), host.nbytes(), keep(host, *device_), c10::GetAllocator(DeviceType::CPU), true);
    made_.emplace(host.unsafeGetStorageImpl(), own);
    return own;
  }

  DispatchKeySet keys_of(const Storage& host) { return keys_.at(host.unsafeGetStorageImpl()); }

  const c10::OperatorHandle& op_;
  std::vector<Pair> pairs_;
  std::optional<Device> device_, named_;
  bool foreign_ = false;
  std::unordered_map<c10::StorageImpl*, Storage> hosts_, lent_, made_;  // device's to host's; host's to device's, twice
  std::unordered_map<c10::StorageImpl*, DispatchKeySet> keys_;
};

std::optional<at::Generator>& own_generator() {
  static std::optional<at::Generator> generator;
  return generator;
}

void on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::AutoDispatchBelowADInplaceOrView below;
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  Call call(op);
  for (size_t i = 0; i < arguments.size(); ++i) {
    IValue& value = (*stack)[first + i];
    if (value.isNone() && arguments[i].name() == "generator" && own_generator())
      value = *own_generator();
    else
      value = call.to_host(value);
  }
  call.check_devices();
  op.callBoxed(stack);
  call.write_back();
  const size_t n_returned = op.schema().returns().size();
  for (size_t i = stack->size() - n_returned; i < stack->size(); ++i) (*stack)[i] = call.to_device((*stack)[i]);
}

at::SparseTensorImpl* impl_of(const Tensor& tensor) { return at::sparse::get_sparse_impl(tensor); }

Tensor make_sparse(int64_t sparse_dim, int64_t dense_dim, at::IntArrayRef sizes, const Tensor& indices,
                   const Tensor& values, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                   std::optional<Device>, std::optional<bool>, std::optional<bool> is_coalesced) {
  Tensor found = at::detail::make_tensor<at::SparseTensorImpl>(
      DispatchKeySet(DispatchKey::SparseCUDA), values.dtype());
  auto* impl = at::sparse::get_sparse_impl(found);
  impl->resize_(sparse_dim, dense_dim, sizes);
  impl->set_indices_and_values_unsafe(at::alias(indices), at::alias(values));
  impl->set_coalesced(is_coalesced.value_or(values.size(0) < 2));
  return found;
}

void use_generator(std::optional<at::Generator> generator) { own_generator() = generator; }

// The same numbers under the other name, for the stand-ins of cuDNN's kernels.
Tensor renamed(const Tensor& tensor, Device device) {
  Storage storage(Storage::use_byte_size_t(), tensor.storage().nbytes(), keep(tensor.storage(), device), nullptr, false);
  DispatchKey key = device.is_cuda() ? DispatchKey::CUDA : DispatchKey::CPU;
  Tensor found = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), DispatchKeySet(key), tensor.dtype());
  found.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  return found;
}

}  // namespace

// torch has a kernel for every device for these, which looks for one of CUDA's inside.
TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>()); }
TORCH_LIBRARY_IMPL(_, SparseCUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  for (const char* name : {"copy_", "resize_", "set_.source_Storage_storage_offset", "mse_loss"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
}
TORCH_LIBRARY_IMPL(aten, SparseCUDA, m) {
  for (const char* name : {"clone", "copy_", "empty_like", "zero_", "add.Tensor", "add_.Tensor", "mul.Tensor", "mul_.Tensor"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
  m.impl("_sparse_coo_tensor_with_dims_and_tensors", TORCH_FN(make_sparse));
  m.impl("is_coalesced", [](const Tensor& tensor) { return impl_of(tensor)->coalesced(); });
  m.impl("_nnz", [](const Tensor& tensor) { return impl_of(tensor)->nnz(); });
  m.impl("_indices", [](const Tensor& tensor) { return impl_of(tensor)->indices(); });
  m.impl("_values", [](const Tensor& tensor) { return impl_of(tensor)->values(); });
  m.impl("sparse_dim", [](const Tensor& tensor) { return impl_of(tensor)->sparse_dim(); });
  m.impl("dense_dim", [](const Tensor& tensor) { return impl_of(tensor)->dense_dim(); });
}
TORCH_LIBRARY(pretended, m) {
  m.def("use_generator(Generator? generator) -> ()", &use_generator);
  m.def("renamed(Tensor tensor, Device device) -> Tensor");
}
TORCH_LIBRARY_IMPL(pretended, CUDA, m) { m.impl("renamed", &renamed); }
TORCH_LIBRARY_IMPL(pretended, CPU, m) { m.impl("renamed", &renamed); }

namespace at {
struct PretendedHooks final : CUDAHooksInterface {
  explicit PretendedHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return n_devices(); }
  int getNumGPUs() const override { return n_devices(); }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { current = index; }
  DeviceIndex exchangeDevice(DeviceIndex index) const override { return std::exchange(current, index); }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override { return exchangeDevice(index); }
  void deviceSynchronize(DeviceIndex) const override {}
};
C10_REGISTER_TYPED_CLASS(CUDAHooksRegistry, "CUDAHooks", PretendedHooks)
}  // namespace at
