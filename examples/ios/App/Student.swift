import CryptoKit
import Foundation
import OnnxRuntimeBindings
import PocketCXR

/// A bundle in ONNX Runtime.
final class Student {
    let manifest: Manifest
    private let environment: ORTEnv
    private let session: ORTSession

    init(bundle: URL) throws {
        let file = try Data(contentsOf: bundle)
        let trailer = 86  // the last entry of the file; its last 64 bytes are the hash
        let digest = SHA256.hash(data: file.dropLast(trailer)).map { String(format: "%02x", $0) }.joined()
        guard file.count > trailer, Data(digest.utf8) == file.suffix(64) else {
            throw UnusableBundle(description: "no bundle, or changed after it was sealed (its SHA-256 does not fit)")
        }
        manifest = try Manifest.ofBundle(file)
        environment = try ORTEnv(loggingLevel: .warning)
        session = try ORTSession(env: environment, modelPath: bundle.path, sessionOptions: nil)
    }

    /// Check, score and decide.
    func predict(_ picture: Picture) throws -> Answer {
        let codes = picture.refusals
        guard codes.isEmpty else { return Answer(decision: "refused", reasons: codes) }
        let preprocessing = manifest.preprocessing
        return manifest.decide(try run(picture.resized(to: preprocessing.size, aspect: preprocessing.aspect)))
    }

    /// Step 6: the network's outputs for an input of `size` x `size` pixels.
    func run(_ input: [Float]) throws -> Outputs {
        let size = NSNumber(value: manifest.preprocessing.size)
        let data = input.withUnsafeBytes { NSMutableData(bytes: $0.baseAddress, length: $0.count) }
        let image = try ORTValue(tensorData: data, elementType: .float, shape: [1, 1, size, size])
        var names: Set<String> = ["probabilities", "novelty"]
        if manifest.inputFilter != nil { names.insert("input_kind") }
        let outputs = try session.run(withInputs: ["image": image], outputNames: names, runOptions: nil)
        func row(_ name: String) throws -> [Float] {
            guard let value = outputs[name] else { throw UnusableBundle(description: "the model gives no \(name)") }
            return try (value.tensorData() as Data).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
        return Outputs(
            probabilities: try row("probabilities"), novelty: try row("novelty")[0],
            inputKind: manifest.inputFilter == nil ? nil : try row("input_kind"))
    }
}
