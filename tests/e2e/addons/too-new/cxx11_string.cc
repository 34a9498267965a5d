// What an addon asks of V8 when it is compiled with the string of GCC 5 and newer.
extern "C" void FromCxx11String()
    __asm__("_ZN2v86String3NewERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE");

extern "C" void Use() { FromCxx11String(); }
