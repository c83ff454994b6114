import Foundation

/// The bytes of memory that count against this app; nil where the system does not say.
public func memoryInUse() -> UInt64? {
  #if canImport(Darwin)
    var info = task_vm_info_data_t()
    let words = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size
    var count = mach_msg_type_number_t(words)
    let code = withUnsafeMutablePointer(to: &info) { pointer in
      pointer.withMemoryRebound(to: integer_t.self, capacity: words) {
        task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
      }
    }
    return code == KERN_SUCCESS ? info.phys_footprint : nil
  #else
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else {
      return nil
    }
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return line.flatMap { UInt64($0.split(separator: " ").dropLast().last ?? "") }.map { $0 * 1024 }
  #endif
}
