// swift-tools-version:5.9
// Preprocessing and decision in plain Swift; the app in App/ adds the decoder, ONNX Runtime and a screen.
import PackageDescription

let package = Package(
    name: "PocketCXR",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "PocketCXR", targets: ["PocketCXR"])],
    targets: [
        .target(name: "PocketCXR"),
        .testTarget(name: "PocketCXRTests", dependencies: ["PocketCXR"]),
    ]
)
